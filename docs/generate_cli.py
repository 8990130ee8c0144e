"""Writes `reference/cli.md` from the command line itself: its options, settings and policies.

python -m docs.generate_cli
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dynasor_graph.algorithms import ALGORITHMS
from dynasor_graph.cli import app
from dynasor_graph.policies import PRESETS, RULES, AsNeeded, Rule, in_short, summary

__all__ = ["PAGE", "render"]

PAGE: Final = Path(__file__).parent / "reference" / "cli.md"

_TOP: Final = """\
<!-- Written by `make docs-cli` from the program itself: do not edit. -->

# Command line

{about}

`python -m dynasor_graph` is the same command. Results go to standard output; progress, warnings
and errors go to standard error. With `--json` standard output holds one JSON object and nothing
else.

## Exit status

| Status | Meaning |
| --- | --- |
| 0 | Everything was answered. |
| 1 | Some programs failed, or some lines of the file were no questions; the rest is in the output. |
| 2 | The input is wrong: an option, a setting, a file, a question. One line says what to do. |
| 3 | The engine failed: it did not start, does not answer, refused, or died. |
| 130 | Interrupted with Ctrl-C. What was answered before is in the output file. |
"""

_SETTINGS: Final = """\
## Settings

`--set key=value` reaches every setting of an algorithm, also those that have no option of their
own; a dot reaches into a group: `--set budget.rounds=3`. A value is read as JSON where it is JSON,
else as text. The same names are the keyword arguments of `solve`, `stream` and `Runner` in Python.
"""

_POLICIES: Final = """\
## Policies

`--policy` takes a rule by name, a rule with parameters, a preset, a combination or JSON:

| Written | Meaning |
| --- | --- |
| `beta` | a rule with its defaults |
| `beta:confidence=0.9` | a rule with a parameter |
| `certaindex:threshold=0.4,at=5` | a rule with two |
| `sc-gsm8k` | a preset |
| `beta & lossless` | all of them |
| `beta \\| lossless` | any of them; `&` binds tighter |
| `{"rule": "beta", "confidence": 0.9}` | JSON, as it stands in traces |

A policy is refused where it looks at what the algorithm does not give: votes, probes or rewards.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(value: object) -> str:
    """A value as code in a cell; nothing for None."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "`" + text.replace("\n", "\\n").replace("|", "\\|") + "`"


def cell(text: str) -> str:
    """Text in a cell: one line, no column sign."""
    return " ".join(text.split()).replace("|", "\\|")


def kind(hint: Any) -> str:
    """What a person gives for a Python type."""
    names: dict[Any, str] = {str: "text", int: "integer", float: "number", Path: "path"}
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        return " or ".join(dict.fromkeys(kind(part) for part in parts))
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(code(value) for value in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "list"
    if typing.get_origin(hint) is list:  # as the command line has it
        return f"{kind(*typing.get_args(hint))}, several times"
    if typing.get_origin(hint) is dict:
        return "JSON object"
    return names.get(hint, "yes or no" if hint is bool else str(getattr(hint, "__name__", hint)))


# Commands ----------------------------------------------------------------------------------------


def command_part(name: str, command: Any, hints: Mapping[str, Any]) -> str:
    """One command: what it does, its arguments, its options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(["dynasor-graph", name, *(p.name.upper() for p in arguments), "[OPTIONS]"])
    parts = [f"## `dynasor-graph {name}`\n", command.help.strip() + "\n"]
    parts.append(f"```text\n{usage}\n```\n")
    if arguments:
        rows = [[code(p.name.upper()), kind(hints[p.name]), cell(p.help or "")] for p in arguments]
        parts.append(table(["Argument", "Value", "Meaning"], rows))
    rows = [[_names(p), _value(p, hints), _default(p), cell(p.help or "")] for p in options]
    parts.append(table(["Option", "Value", "Default", "Meaning"], rows))
    return "\n".join(parts)


def _names(option: Any) -> str:
    names = sorted(option.opts, key=len, reverse=True)
    return ", ".join(code(name) for name in [*names, *option.secondary_opts])


def _value(option: Any, hints: Mapping[str, Any]) -> str:
    return "" if option.is_flag else kind(hints[option.name])


def _default(option: Any) -> str:
    if option.is_flag:
        return "on" if option.default else ""
    return code(None if option.default is None else str(option.default))


# Settings and policies ---------------------------------------------------------------------------


def settings_part() -> str:
    """Every setting of every algorithm; those that all share stand once."""
    parts = [_SETTINGS]
    fields = {name: dict(_fields(x.settings)) for name, x in ALGORITHMS.items()}
    first, *others = fields.values()
    shared = {key: row for key, row in first.items() if all(row == o.get(key) for o in others)}
    for title, rows in [
        ("All algorithms", shared),
        *(
            (f"`{name}`", {k: v for k, v in own.items() if k not in shared})
            for name, own in fields.items()
        ),
    ]:
        parts.append(f"### {title}\n")
        head = ["Setting", "Value", "Default", "Meaning"]
        parts.append(table(head, [[code(key), *row] for key, row in rows.items()]))
    return "\n".join(parts)


def _fields(
    model: type[BaseModel], group: str = "", given: BaseModel | None = None
) -> Iterable[tuple[str, tuple[str, str, str]]]:
    for name, field in model.model_fields.items():
        default = getattr(given, name) if given else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _fields(type(default), f"{group}{name}.", default)
            continue
        shown = "" if default is PydanticUndefined else code(_plain(default))
        about = next(filter(None, (x.description for x in _fields_named(name, model))), "")
        yield f"{group}{name}", (kind(field.annotation), shown, cell(about))


def _fields_named(name: str, model: type[BaseModel]) -> Iterable[Any]:
    """The field, and those that it overrides: a new default keeps its meaning."""
    for base in model.__mro__:
        if issubclass(base, BaseModel) and name in base.model_fields:
            yield base.model_fields[name]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def policies_part() -> str:
    """Every rule with its parameters, and every preset."""
    parts = [_POLICIES]
    for name, rule in sorted(RULES.items()):
        if not rule.__module__.startswith("dynasor_graph."):
            continue  # somebody's own, made in this process
        parts.append(f"### `{name}`\n\n{summary(rule)}\n")
        rows = [[code(key), *row] for key, row in _fields(rule) if key != "rule"]
        if rows:
            parts.append(table(["Parameter", "Value", "Default", "Meaning"], rows))
    parts.append("### Presets\n")
    rows = [[code(name), code(_written(preset))] for name, preset in PRESETS.items()]
    parts.append(table(["Preset", "The same as"], rows))
    return "\n".join(parts)


def _written(rule: Rule) -> str:
    """A rule as it is written on the command line, with the parameters it was made with."""
    if isinstance(rule, AsNeeded):
        return in_short(rule)
    values = rule.model_dump(mode="json", include=rule.model_fields_set - {"rule"})
    pairs = (f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in values.items())
    return f"{type(rule).model_fields['rule'].default}:{','.join(pairs)}"


def render() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    callbacks = {
        (x.name or x.callback.__name__): x.callback for x in app.registered_commands if x.callback
    }
    parts = [_TOP.format(about=cell(group.help))]
    parts += [
        command_part(name, command, typing.get_type_hints(callbacks[name]))
        for name, command in group.commands.items()
    ]
    return "\n".join([*parts, settings_part(), policies_part()])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
