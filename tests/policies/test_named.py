"""Policies by name: how they are written, read back, and what is said of a wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, strategies as st
from pydantic import Field, ValidationError

from dynasor_graph.errors import ConfigError, UnknownName
from dynasor_graph.policies import (
    PRESETS,
    RULES,
    AllOf,
    AnyOf,
    AsNeeded,
    Beta,
    Certaindex,
    Decision,
    EveryCertaindex,
    Fixed,
    Lossless,
    ProbeConfidence,
    ProbeConsistency,
    Progress,
    Rule,
    read_policy,
    summary,
)
from dynasor_graph.policies.base import go_on, terminate

BUILT_IN = {rule.__module__ for rule in (Beta, AllOf, ProbeConsistency)}


@pytest.fixture
def rules() -> Iterator[dict[str, type[Rule]]]:
    """The table of rules, put back as it was: a test may enter its own."""
    before = dict(RULES)
    yield RULES
    RULES.clear()
    RULES.update(before)


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        pytest.param("beta", Beta(), id="rule"),
        pytest.param(" beta ", Beta(), id="spaces"),
        pytest.param("beta:confidence=0.9", Beta(confidence=0.9), id="parameter"),
        pytest.param(
            "certaindex : threshold = 0.4 , at = 7", Certaindex(threshold=0.4, at=7), id="two"
        ),
        pytest.param(
            "certaindex:threshold=null,reward_threshold=0.4,reward=max",
            Certaindex(threshold=None, reward_threshold=0.4, reward="max"),
            id="null-and-a-word",
        ),
        pytest.param("sc-livecodebench", Certaindex(threshold=0.4, at=5), id="preset"),
        pytest.param("sc-gsm8k:at=7", Certaindex(threshold=0.7, at=7), id="preset-and-parameter"),
        pytest.param("cot-high", ProbeConsistency(window=2), id="preset-of-probes"),
        pytest.param("beta & lossless", AllOf(policies=(Beta(), Lossless())), id="and"),
        pytest.param("beta|fixed", AnyOf(policies=(Beta(), Fixed())), id="or"),
        pytest.param(
            "beta & lossless | sc-math:at=9",
            AnyOf(policies=(AllOf(policies=(Beta(), Lossless())), Certaindex(at=9))),
            id="and-binds-tighter-than-or",
        ),
        pytest.param('{"rule": "beta", "confidence": 0.9}', Beta(confidence=0.9), id="json-text"),
        pytest.param({"rule": "beta", "confidence": 0.9}, Beta(confidence=0.9), id="json"),
        pytest.param(
            {"rule": "all-of", "policies": ["sc-math", {"rule": "fixed"}]},
            AllOf(policies=(Certaindex(), Fixed())),
            id="json-of-a-combination",
        ),
        pytest.param(Lossless(), Lossless(), id="a-rule-itself"),
    ],
)
def test_a_policy_may_be_written_in_many_ways(spec: str | Mapping[str, Any] | Rule, rule: Rule):
    assert read_policy(spec) == rule


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [
        pytest.param("bata", "beta", id="rule"),
        pytest.param("sc-gms8k", "sc-gsm8k", id="preset"),
        pytest.param("los-less:x=1", "lossless", id="with-parameters"),
        pytest.param("beta & fixd", "fixed", id="in-a-combination"),
        pytest.param('{"rule": "anyof"}', "any-of", id="json"),
    ],
)
def test_an_unknown_policy_suggests_the_nearest_and_lists_rules_and_presets(
    asked: str, suggested: str
):
    with pytest.raises(UnknownName, match=f"unknown policy .*: did you mean {suggested!r}?") as e:
        read_policy(asked)
    assert {*RULES, *PRESETS} == set(e.value.choices)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param("beta:confidence=2", "'beta': confidence: .*less than 1, got 2", id="above"),
        pytest.param(
            "beta:confidence=0.4", "'beta': confidence: .*equal to 0.5, got 0.4", id="below"
        ),
        pytest.param("beta:confidence=NaN", "'beta': confidence: .*got nan", id="nan"),
        pytest.param("beta:confidence=high", "confidence: .*number.*got 'high'", id="no-number"),
        pytest.param("beta:confidense=0.9", "'beta': confidense: Extra inputs", id="typo"),
        pytest.param("beta:confidence", "as key=value, got 'confidence'", id="no-value"),
        pytest.param("certaindex:threshold=1.1", "threshold: .*equal to 1, got 1.1", id="share"),
        pytest.param("certaindex:threshold=-0.1", "threshold: .*equal to 0, got -0.1", id="minus"),
        pytest.param("certaindex:at=1", "at: .*equal to 2, got 1", id="one-proves-nothing"),
        pytest.param("certaindex:reward=median", "reward: .*'mean' or 'max'", id="choice"),
        pytest.param("certaindex:reward_threshold=7", "reward_threshold: .*got 7", id="reward"),
        pytest.param("certaindex-every:every=0", "every: .*equal to 1, got 0", id="every"),
        pytest.param("probe-consistency:window=0", "window: .*equal to 1, got 0", id="window"),
        pytest.param("probe-consistency:agreement=0", "agreement: .*than 0, got 0", id="tau-0"),
        pytest.param("cot-mid:agreement=1.5", "agreement: .*equal to 1, got 1.5", id="tau-1.5"),
        pytest.param('{"rule": "beta"', "not valid JSON", id="broken-json"),
        pytest.param({"confidence": 0.9}, "needs a field 'rule'", id="no-rule"),
        pytest.param({"rule": 5}, "needs a field 'rule'", id="rule-is-no-name"),
        pytest.param({"rule": "all-of"}, "policies: Field required", id="no-parts"),
        pytest.param({"rule": "any-of", "policies": []}, "at least 1 item", id="empty-parts"),
        pytest.param({"rule": "any-of", "policies": "beta"}, "policies: .*'beta'", id="no-list"),
        pytest.param({"rule": "any-of", "policies": [5]}, "got 5", id="a-part-is-a-number"),
        pytest.param(
            {"rule": "all-of", "policies": [{"rule": "beta", "start": 0}]},
            "'beta': start: .*got 0",
            id="a-part-is-wrong",
        ),
        pytest.param("", "unknown policy ''", id="empty"),
        pytest.param("beta &", "unknown policy ''", id="half-a-combination"),
    ],
)
def test_a_wrong_policy_names_the_field_the_value_and_what_is_allowed(
    spec: str | Mapping[str, Any], said: str
):
    with pytest.raises(ConfigError, match=said):
        read_policy(spec)


def test_something_that_is_no_policy_at_all_is_a_config_error():
    spec: Any = 5
    with pytest.raises(ConfigError, match="write a name, a preset or a JSON object, got 5"):
        read_policy(spec)


@pytest.mark.parametrize(
    ("text", "spec", "rule"),
    [
        pytest.param(
            '{"policy": {"rule": "beta", "confidence": 0.9}, "bound": {}, "made": ""}',
            "{}",
            Beta(confidence=0.9),
            id="what-calibrate-writes",
        ),
        pytest.param('{"rule": "lossless"}', "{}", Lossless(), id="a-bare-rule"),
        pytest.param('{"rule": "lossless"}', " {} ", Lossless(), id="spaces"),
        pytest.param(
            '{"rule": "any-of", "policies": ["beta", "fixed"]}',
            "{}",
            AnyOf(policies=(Beta(), Fixed())),
            id="a-combination",
        ),
        pytest.param(
            '{"rule": "lossless"}', "{} & beta", AllOf(policies=(Lossless(), Beta())), id="first"
        ),
        pytest.param(
            '{"rule": "lossless"}', "beta | {}", AnyOf(policies=(Beta(), Lossless())), id="last"
        ),
        pytest.param(
            '{"rule": "lossless"}',
            "as-needed:policy={}",
            AsNeeded(policy=Lossless()),
            id="of-another-rule",
        ),
    ],
)
def test_a_policy_is_read_from_a_file(tmp_path: Path, text: str, spec: str, rule: Rule) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    assert read_policy(spec.format(path)) == rule


def test_a_sign_in_the_name_of_a_file_combines_nothing(tmp_path: Path) -> None:
    path = tmp_path / "R&D.json"
    path.write_text('{"rule": "lossless"}')
    assert read_policy(str(path)) == Lossless()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "x.json: no such file", id="missing"),
        pytest.param('{"rule": "beta"', "x.json: cannot be read: .*delimiter", id="broken-json"),
        pytest.param("", "x.json: cannot be read", id="empty"),
        pytest.param("[1]", "x.json: holds no policy", id="a-list"),
        pytest.param('"beta"', "x.json: holds no policy", id="a-name"),
        pytest.param('{"policy": "beta"}', "x.json: holds no policy", id="a-name-inside"),
        pytest.param('{"policy": null}', "x.json: holds no policy", id="null"),
        pytest.param("{}", "needs a field 'rule'", id="no-rule"),
        pytest.param('{"rule": "bata"}', "unknown policy 'bata'", id="unknown-rule"),
        pytest.param('{"rule": "beta", "start": 0}', "'beta': start: .*got 0", id="wrong-value"),
    ],
)
def test_a_wrong_policy_file_is_a_config_error(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_policy(str(path))


def test_a_folder_is_no_policy_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(str(tmp_path / "x.json"))


@pytest.mark.parametrize("spec", ["beta | nowhere.json", "as-needed:policy=nowhere.json"])
def test_a_missing_file_in_another_policy_is_named_alone(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"policy: nowhere\.json: no such file"):
        read_policy(spec)


shares = st.floats(0, 1)
simple_rules = st.one_of(
    st.just(Fixed()),
    st.just(Lossless()),
    st.builds(ProbeConfidence, confidence=st.floats(0.01, 1), window=st.integers(1, 5)),
    st.builds(Beta, confidence=st.floats(0.5, 1, exclude_max=True), start=st.integers(1, 9)),
    st.builds(
        Certaindex,
        threshold=st.none() | shares,
        at=st.integers(2, 99),
        reward_threshold=st.none() | shares,
        reward=st.sampled_from(["mean", "max"]),
    ),
    st.builds(
        EveryCertaindex,
        threshold=shares,
        every=st.integers(1, 9),
        start=st.integers(2, 9),
        calibrated_at=st.none() | st.integers(2, 99),
    ),
    st.builds(
        ProbeConsistency,
        window=st.integers(1, 9),
        agreement=st.floats(0, 1, exclude_min=True),
        min_tokens=st.integers(0, 999),
        hesitation=st.sampled_from(["omit", "fail", "ignore"]),
        words=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    ),
)
any_rule = st.recursive(
    simple_rules,
    lambda parts: st.builds(
        lambda kind, some: kind(policies=tuple(some)),
        st.sampled_from([AllOf, AnyOf]),
        st.lists(parts, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@given(any_rule)
def test_every_rule_survives_json(rule: Rule):
    text = json.dumps(rule.model_dump(mode="json"))
    assert read_policy(text) == rule
    assert read_policy(json.loads(text)) == rule
    assert read_policy(rule.model_dump()) == rule


def test_the_strategy_above_covers_every_built_in_rule():
    tried = {"fixed", "lossless", "beta", "certaindex", "certaindex-every"}
    tried |= {"probe-consistency", "probe-confidence"}
    built_in = {name for name, rule in RULES.items() if rule.__module__ in BUILT_IN}
    assert tried | {"all-of", "any-of"} == built_in


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_read_by_name_and_written_as_the_rule_it_is(name: str):
    assert read_policy(name) is PRESETS[name]
    assert read_policy(PRESETS[name].model_dump(mode="json")) == PRESETS[name]


def test_the_effort_levels_are_those_of_the_papers_code():
    levels = ("cot-mild", "cot-low", "cot-mid", "cot-high")
    windows = [PRESETS[level].model_dump()["window"] for level in levels]
    assert windows == [8, 5, 3, 2]


def test_no_preset_takes_the_name_of_a_rule():
    assert not set(PRESETS) & set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_in_one_line_what_it_does(name: str):
    assert summary(RULES[name]).endswith(".") or ";" in summary(RULES[name])
    assert RULES[name].model_fields["rule"].default == name


def test_a_rule_is_a_value():
    assert Beta(confidence=0.9) == Beta(confidence=0.9) != Beta()
    assert len({Beta(), Beta(), Lossless()}) == 2
    with pytest.raises(ValidationError, match="frozen"):
        Beta().confidence = 0.9  # type: ignore[misc]


def test_a_rule_that_does_not_decide_says_so():
    class Undecided(Rule):
        pass

    with pytest.raises(TypeError, match="Undecided does not say how to decide"):
        Undecided().decide(Progress(cap=1))


def test_a_rule_of_your_own_is_found_by_its_name(rules: dict[str, type[Rule]]):
    class Majority(Rule):
        """Stop when the leader has a share of all votes."""

        rule: Literal["majority"] = "majority"
        share: float = Field(0.8, gt=0, le=1)

        def decide(self, progress: Progress, /) -> Decision:
            most = progress.votes[0] if progress.votes else 0
            value = most / max(1, sum(progress.votes))
            verdict = terminate if value >= self.share and sum(progress.votes) > 1 else go_on
            return verdict(self.rule, progress, evidence=value, threshold=self.share)

    assert rules["majority"] is Majority
    rule = read_policy("majority:share=0.75")
    assert rule == Majority(share=0.75)
    assert rule.decide(Progress(knob=4, cap=9, votes=(3, 1))).verdict == "terminate"
    combined = read_policy("majority & beta")
    assert combined == AllOf(policies=(Majority(), Beta()))
    assert read_policy(json.dumps(combined.model_dump(mode="json"))) == combined
    with pytest.raises(ConfigError, match=r"'majority': share: .*got 7"):
        read_policy("majority:share=7")


def test_a_rule_that_inherits_a_name_does_not_take_it_away(rules: dict[str, type[Rule]]):
    class Patient(Beta):
        """Beta, but never before the tenth answer."""

        start: int = 10

    assert rules["beta"] is Beta
    assert read_policy("beta") == Beta()
    assert Patient().decide(Progress(knob=4, cap=20, votes=(4,))).verdict == "continue"
