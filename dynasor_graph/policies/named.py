"""Named policies: the rules by name, the paper's thresholds as presets, and how both are written.

beta                                 a rule with its defaults
beta:confidence=0.9                  with a parameter
certaindex:threshold=0.4,at=5        with two
sc-gsm8k                             a preset
beta & lossless      beta | lossless all of them, any of them
{"rule": "beta", "confidence": 0.9}  JSON, as in traces
policy.json                          a file that `dynasor-graph calibrate` wrote
as-needed:policy=policy.json         the same, with no more branches than it is expected to need
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dynasor_graph.errors import ConfigError, UnknownName, explain
from dynasor_graph.policies.base import RULES, Rule
from dynasor_graph.policies.combine import AllOf, AnyOf
from dynasor_graph.policies.deepconf import DeepConf
from dynasor_graph.policies.expected import AsNeeded
from dynasor_graph.policies.probes import ProbeConfidence, ProbeConsistency
from dynasor_graph.policies.votes import Beta, Certaindex

__all__ = ["PRESETS", "in_short", "read_policy", "summary"]

PRESETS: dict[str, Rule] = {
    "sc-math": Certaindex(threshold=0.7, at=5),
    "sc-gsm8k": Certaindex(threshold=0.7, at=5),
    "sc-livecodebench": Certaindex(threshold=0.4, at=5),
    "mcts-gsm8k": Certaindex(threshold=0.99, reward_threshold=0.4, reward="mean", at=3),
    "mcts-asdiv": Certaindex(threshold=None, reward_threshold=0.4, reward="mean", at=3),
    "rebase-gsm8k": Certaindex(threshold=0.85, reward_threshold=0.99, reward="max", at=16),
    "rebase-math": Certaindex(threshold=0.75, at=16),
    "beta-as-needed": AsNeeded(policy=Beta()),
    "judged": Certaindex(threshold=0.7, reward_threshold=0.9, reward="max", at=5),
    "cot-mild": ProbeConsistency(window=8),
    "cot-low": ProbeConsistency(window=5),
    "cot-mid": ProbeConsistency(window=3),
    "cot-high": ProbeConsistency(window=2),
    "deer": ProbeConfidence(checks=10),
    "deepconf-low": DeepConf(keep=0.1),
    "deepconf-high": DeepConf(keep=0.9),
}
"""The paper's Table 3, and its code's effort levels for chains of thought (window = consecutive
equal answers; the interval belongs to the algorithm). "judged" is ours, for searches of a small width:
five solutions agree, and at least one of them is judged to be right. "beta-as-needed" is `beta` in a
window that opens and closes. "deer" is DEER's threshold (Yang et al. 2025), at our probes instead of
its words."""


def summary(rule: type[Rule]) -> str:
    """One line on what a rule does."""
    return (rule.__doc__ or "").strip().splitlines()[0]


def in_short(spec: str | Mapping[str, Any] | Rule) -> str:
    """A policy as a person would write it; tables inside it are left out.

    Raises:
        UnknownName: No rule or preset of that name.
        ConfigError: A parameter does not exist or is out of range.
    """
    if isinstance(spec, str) and not spec.lstrip().startswith("{"):
        return spec.strip()
    rule = read_policy(spec)
    if isinstance(rule, AllOf | AnyOf):
        return (" & " if isinstance(rule, AllOf) else " | ").join(map(in_short, rule.policies))
    if isinstance(rule, AsNeeded):
        told = rule.model_dump(exclude_defaults=True, exclude={"rule", "policy"})
        return ",".join([f"as-needed:policy={in_short(rule.policy)}", *_pairs(told)])
    told = rule.model_dump(mode="json", exclude_defaults=True, exclude={"rule"})
    name = str(rule.model_dump()["rule"])
    plain = _pairs(told)
    return f"{name}:{','.join(plain)}" if plain else name


def _pairs(told: Mapping[str, Any]) -> list[str]:
    return [f"{k}={v}" for k, v in told.items() if isinstance(v, str | int | float)]


def _from_json(row: Mapping[str, Any]) -> Rule:
    name = row.get("rule")
    if not isinstance(name, str):
        raise ConfigError(f"a policy needs a field 'rule' that holds its name, got {dict(row)!r}")
    if name not in RULES:
        raise UnknownName("policy", name, [*RULES, *PRESETS])
    values = dict(row)
    if name in {"all-of", "any-of"} and isinstance(parts := row.get("policies"), list | tuple):
        values["policies"] = tuple(read_policy(part) for part in parts)
    if name == "as-needed" and "policy" in row:
        values["policy"] = read_policy(row["policy"])
    try:
        return RULES[name].model_validate(values)
    except ValidationError as error:
        raise explain(error, f"policy {name!r}") from None


def _is_file(text: str) -> bool:
    """Whether a file is meant, be it there or not: not `beta | a.json` or `as-needed:policy=a.json`."""
    name, _, parameters = text.partition(":")
    written_out = set("|&") & set(text) or (name.strip() in RULES and "=" in parameters)
    return text.endswith(".json") and (Path(text).is_file() or not written_out)


def _in_file(path: Path) -> Mapping[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"policy: {path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy: {path}: cannot be read: {error}") from None
    found = row.get("policy", row) if isinstance(row, dict) else None
    if not isinstance(found, Mapping):
        raise ConfigError(f"policy: {path}: holds no policy: calibrate writes such files")
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _from_name(text: str) -> Rule:
    name, _, parameters = (part.strip() for part in text.partition(":"))
    if name in PRESETS and not parameters:
        return PRESETS[name]
    values: dict[str, Any] = PRESETS[name].model_dump() if name in PRESETS else {"rule": name}
    for pair in filter(None, parameters.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ConfigError(f"policy {name!r}: write parameters as key=value, got {pair!r}")
        values[key] = _value(value)
    return _from_json(values)


def read_policy(spec: str | Mapping[str, Any] | Rule) -> Rule:
    """The policy that `spec` names; see the top of this module for how it may be written.

    Raises:
        UnknownName: No rule or preset of that name.
        ConfigError: A parameter does not exist or is out of range.
    """
    if isinstance(spec, Rule):
        return spec
    if isinstance(spec, Mapping):
        return _from_json(spec)
    if not isinstance(spec, str):
        raise ConfigError(f"policy: write a name, a preset or a JSON object, got {spec!r}")
    text = spec.strip()
    if text.startswith("{"):
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"policy: not valid JSON ({error}): {text!r}") from None
        return _from_json(row)
    if _is_file(text):
        return _from_json(_in_file(Path(text)))
    for sign, combined in (("|", AnyOf), ("&", AllOf)):
        if sign in text:
            parts = tuple(read_policy(part) for part in text.split(sign))
            return combined(policies=parts)
    return _from_name(text)
