"""Combinations: all of several policies, or any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, SerializeAsAny

from dynasor_graph.policies.base import Decision, Progress, Rule

__all__ = ["AllOf", "AnyOf"]


def _join(rule: str, parts: Sequence[Decision], stop: bool, progress: Progress) -> Decision:
    if stop:
        said = [part for part in parts if part.verdict == "terminate"]
        return Decision(
            verdict="terminate",
            width=progress.knob,
            rule=rule,
            saved=max(part.saved for part in said),
            warning="; ".join(part.warning for part in said if part.warning) or None,
            parts=tuple(parts),
        )
    going = [part for part in parts if part.verdict != "terminate"]
    ends_round = all(part.verdict == "branch" for part in going)
    return Decision(
        verdict="branch" if ends_round else "continue",
        # The first of them that wants to be asked again sets the pace.
        width=min(part.width for part in going),
        rule=rule,
        parts=tuple(parts),
    )


class _Combination(Rule):
    policies: tuple[SerializeAsAny[Rule], ...] = Field(min_length=1)

    def reads(self) -> frozenset[str]:
        """All that its parts look at."""
        return frozenset().union(*(policy.reads() for policy in self.policies))


class AllOf(_Combination):
    """Terminate when every part says so at the same time."""

    rule: Literal["all-of"] = "all-of"

    def decide(self, progress: Progress, /) -> Decision:
        """Asks every part."""
        parts = [policy.decide(progress) for policy in self.policies]
        stop = all(part.verdict == "terminate" for part in parts)
        return _join(self.rule, parts, stop, progress)


class AnyOf(_Combination):
    """Terminate when one part says so."""

    rule: Literal["any-of"] = "any-of"

    def decide(self, progress: Progress, /) -> Decision:
        """Asks every part."""
        parts = [policy.decide(progress) for policy in self.policies]
        stop = any(part.verdict == "terminate" for part in parts)
        return _join(self.rule, parts, stop, progress)
