"""`dynasor-graph algorithms` and `policies`: what there is, one line each."""

from __future__ import annotations

from typing import Any

from dynasor_graph.cli.options import JSON_OUT


def algorithms(json_out: JSON_OUT = False) -> None:
    """List the reasoning algorithms and their settings."""
    from dynasor_graph.algorithms import ALGORITHMS

    rows: list[dict[str, Any]] = [
        {
            "algorithm": algorithm.name,
            "summary": algorithm.summary,
            "settings": {
                name: field.get_default(call_default_factory=True)
                for name, field in algorithm.settings.model_fields.items()
                if isinstance(field.default, str | int | float | bool)
            },
        }
        for algorithm in ALGORITHMS.values()
    ]
    _show(rows, json_out, "Algorithms")


def policies(json_out: JSON_OUT = False) -> None:
    """List the policies: the rules with their parameters, and the paper's presets."""
    from dynasor_graph.policies import PRESETS, RULES, summary

    rows: list[dict[str, Any]] = [
        {
            "policy": name,
            "summary": summary(rule),
            "parameters": {
                key: field.default
                for key, field in rule.model_fields.items()
                if key != "rule" and isinstance(field.default, str | int | float | None)
            },
        }
        for name, rule in sorted(RULES.items(), key=lambda item: (item[0].endswith("-of"), item[0]))
    ]
    for name, preset in PRESETS.items():
        values = preset.model_dump(mode="json", exclude={"words"}, exclude_none=True)
        rule_name = values.pop("rule")
        rows.append({"policy": name, "summary": f"Preset of {rule_name}.", "parameters": values})
    _show(rows, json_out, "Policies")


def _show(rows: list[dict[str, Any]], json_out: bool, title: str) -> None:
    from dynasor_graph.cli.output import print_json, print_table

    if json_out:
        print_json({"rows": rows})
        return
    print_table(title, [{key: _cell(value) for key, value in row.items()} for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, dict):
        shown = {k: v for k, v in value.items() if k not in {"probe", "conclude"}}
        return ", ".join(f"{key}={item}" for key, item in shown.items())
    return str(value)
