"""Shadows: policies that are asked at the moments of the one that acts, and never act themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dynasor_graph.executor.context import Context
from dynasor_graph.executor.tally import Tally, elect
from dynasor_graph.policies import Progress
from dynasor_graph.types import JSON

__all__ = ["Shadows"]


class Shadows:
    """The shadow policies of one round.

    Args:
        settings: The algorithm's context; names them.
        tally: Votes of the finished branches, over all rounds.
        said: Those that said "terminate" in an earlier round.
        emit: Sends an event, by its kind and its fields.

    Attributes:
        said: Those that have said "terminate", as they were written; they are not asked again.
    """

    def __init__(
        self,
        settings: Context,
        tally: Tally,
        said: Iterable[str | JSON],
        emit: Callable[..., None],
    ) -> None:
        self.said = [*said]
        self._rules = list(zip(settings.shadow, settings.shadow_rules, strict=True))
        self._tally, self._emit = tally, emit
        self._vote = getattr(settings, "vote", "majority")

    def ask(self, progress: Progress, probed: str | None = None) -> None:
        """Ask each that has not said "terminate"; one that says so now sends an event.

        Args:
            progress: What the policy that acts is shown, too.
            probed: What a chain of thought would answer now.
        """
        for policy, rule in self._rules:
            if policy in self.said:
                continue
            decision = rule.decide(progress)
            if decision.verdict != "terminate":
                continue
            self.said.append(policy)
            leader = elect(self._tally, self._vote)
            self._emit(
                "shadow",
                policy=policy,
                # Not spread like that of a decision: nothing ends here.
                decision=decision.to_json(),
                knob=progress.knob,
                tokens=progress.tokens,
                answer=leader["answer"] if leader else probed,
            )
