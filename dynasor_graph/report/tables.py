"""Tables: the cells and sentences of the page, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynasor_graph.comparison import Row, ShadowRow
from dynasor_graph.report.curves import Example
from dynasor_graph.report.group import Group
from dynasor_graph.report.plots import SPENT, Bar
from dynasor_graph.report.svg import Look
from dynasor_graph.results import Result

__all__ = ["SHOWN", "comparison", "headlines", "outcomes", "questions", "shadows", "spending"]

SHOWN = 200
"""Most questions in a page; the results file has them all."""

_BESIDE = ("prompt", "prompt_cached", "probe_cached")
"""Lines of the ledger that are not in its net tokens."""


def headlines(group: Group) -> list[str]:
    """What a reader should take away: a sentence for each policy against the baseline."""
    base, *others = group.rows
    if not others:
        right = "" if base["accuracy"] is None else f"; {percent(base['accuracy'])} right"
        each = base["net_tokens"] / base["questions"]
        return [f"{base['policy']} spent {each:,.0f} net tokens a question{right}."]
    whose = "the full budget's" if base["policy"] == "fixed" else f"{base['policy']}'s"
    return [
        f"{row['policy']} spent {100 * (1 - row['saved']):.0f} % of {whose} net tokens; "
        f"{_against(row)}."
        for row in others
    ]


def _against(row: Row) -> str:
    difference, low, high = _points(row)
    if not difference:
        return f"it gave the same answer to {percent(row['agreement'])} of the questions"
    return f"accuracy {difference} points (95 % interval {low} to {high})"


def comparison(group: Group, look: Mapping[str, Look]) -> list[dict[str, Any]]:
    """The rows of the comparison, formatted."""
    return [_comparison_row(row, look[row["policy"]], row is group.rows[0]) for row in group.rows]


def _comparison_row(row: Row, look: Look, is_base: bool) -> dict[str, Any]:
    difference, low, high = _points(row)
    return {
        "policy": row["policy"],
        "look": look,
        "accuracy": percent(row["accuracy"]),
        "difference": "baseline" if is_base else difference and f"{difference} ({low} to {high})",
        "agreement": percent(row["agreement"]),
        "net": whole(row["net_tokens"]),
        "saved": "" if is_base else percent(row["saved"]),
        "gross": whole(row["gross_tokens"]),
        "mean": f"{row['latency_mean_s']:.2f}",
        "p90": f"{row['latency_p90_s']:.2f}",
    }


def _points(row: Row) -> tuple[str, str, str]:
    values = (row["accuracy_difference"], row["difference_low"], row["difference_high"])
    first, low, high = ("" if v is None else signed(100 * v) for v in values)
    return first, low, high


def spending(bars: list[Bar], look: Mapping[str, Look]) -> dict[str, Any]:
    """Tokens a question by the lines of the ledger; prompts and what was cached stand beside."""
    used = [k for k in (*SPENT, *_BESIDE) if any(bar.usage[k] for bar in bars)]
    counted = [k for k in used if k in SPENT]
    beside = [k for k in used if k in _BESIDE]
    return {
        "counted": [_words(k) for k in counted],
        "beside": [_words(k) for k in beside],
        "rows": [
            {
                "policy": bar.policy,
                "look": look[bar.policy],
                "counted": [whole(bar.usage[k]) for k in counted],
                "net": whole(sum(bar.usage[k] for k in SPENT)),
                "beside": [whole(bar.usage[k]) for k in beside],
            }
            for bar in bars
        ],
    }


def shadows(rows: Sequence[ShadowRow], look: Mapping[str, Look]) -> list[dict[str, Any]]:
    """What each shadow policy would have made of its arm, formatted."""
    return [
        {
            "policy": row["policy"],
            "look": look[row["policy"]],
            "shadow": row["shadow"],
            "programs": whole(row["programs"]),
            "stopped": whole(row["stopped"]),
            "unknown": whole(row["unknown"]),
            "accuracy": percent(row["accuracy"]),
            "agreement": percent(row["agreement"]),
            "tokens": whole(row["tokens"]),
            "share": percent(row["share"]),
        }
        for row in rows
    ]


def questions(group: Group) -> list[dict[str, Any]]:
    """The first questions, each with what every policy made of it."""
    by_arm = [{r.id: r for r in arm.results} for arm in group.arms]
    return [
        {
            "id": result.id,
            "question": result.question,
            "gold": "" if result.gold is None else result.gold,
            "arms": [_outcome(known[result.id]) for known in by_arm],
        }
        for result in group.questions[:SHOWN]
    ]


def outcomes(group: Group, example: Example, look: Mapping[str, Look]) -> dict[str, Any]:
    """The words beside one question's curve."""
    found = [next(r for r in arm.results if r.id == example.id) for arm in group.arms]
    return {
        "kind": example.kind,
        "id": example.id,
        "question": _cut(found[0].question),
        "gold": found[0].gold,
        "arms": [
            {"policy": arm.policy, "look": look[arm.policy], **_outcome(result)}
            for arm, result in zip(group.arms, found, strict=True)
        ],
    }


def _outcome(result: Result) -> dict[str, Any]:
    stop = result.stop_reason.value if result.stop_reason else ""
    return {
        "answer": "no answer" if result.answer is None else result.answer,
        "correct": result.correct,
        "tokens": whole(result.usage.net),
        "stop": f"failed: {result.error}" if result.error else stop,
    }


def percent(share: float | None) -> str:
    """A share as `61.7 %`; nothing for None."""
    return "" if share is None else f"{100 * share:.1f} %".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """A difference as `+0.4`, and none as `0.0`."""
    text = f"{value:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "\N{MINUS SIGN}")


def whole(value: float) -> str:
    """A count as `1,234`."""
    return f"{value:,.0f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cut(text: str, most: int = 170) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " ..."
