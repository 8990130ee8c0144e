"""Window: keeps branches in flight until the policy, the cap or the budget ends the round."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from dynasor_graph.budget import Grant
from dynasor_graph.certaindex import entropy_certaindex
from dynasor_graph.executor.rolling import Rolling
from dynasor_graph.executor.state import Branch
from dynasor_graph.policies import Decision, Progress
from dynasor_graph.types import StopReason

if TYPE_CHECKING:
    from dynasor_graph.executor.program import Program

__all__ = ["Launch", "Window", "first_decision"]

Launch = Callable[[int, Grant], Awaitable[Branch]]
"""Index of a branch and the tokens it is granted -> the branch."""


class Window(Rolling[Branch]):
    """One round of rolling branches, the policy asked at each. Single-use.

    Args:
        program: The open round.
        launch: What a branch does. Called in order of the index.
        tokens: What to ask of the ledger for one branch.
        cap: Most branches, over all rounds.
    """

    def __init__(self, program: Program[Any], launch: Launch, *, tokens: int, cap: int) -> None:
        super().__init__(program, len(program.tally.branches))
        self._launch, self._tokens, self._cap = launch, tokens, cap
        self._done: list[Branch] = []

    async def roll(self) -> list[Branch]:
        """Run until nothing is in flight and nothing may be launched; the branches of the round."""
        p = self.p
        p.decision = first_decision(p, self._progress())
        await self.run()
        if p.stop_reason is None and not self._opens_round():
            p.stop_reason = self._why_over()
        return self._done

    def may_launch(self) -> bool:
        """Whether the policy wants one more."""
        decision = self.p.decision
        wants = decision is not None and decision.verdict == "continue"
        return wants and self.index < min(self._cap, decision.width if decision else 0)

    def prepare(self, index: int, grant: Grant) -> Callable[[], Awaitable[Branch]]:
        """The branch of that index."""
        return lambda: self._launch(index, grant)

    def want(self) -> tuple[int, int]:
        """A whole branch; as short a one as they have been on average is of use."""
        most = min(self._tokens, self.p.limit or self._tokens)
        return most, min(most, max(1, round(self.p.tally.mean_tokens)))

    async def observe(self, index: int, grant: Grant, result: Branch) -> None:
        """Count a branch that has ended, and ask the policy."""
        self.p.settle(index, grant, result)
        self._done.append(result)
        await self._observe(result)

    # Deciding ----------------------------------------------------------------------------------

    async def _observe(self, branch: Branch) -> None:
        p = self.p
        await p.tally.add(branch)
        votes, empty = p.tally.votes, p.tally.empty
        finished = branch["finish"] != "terminated"
        if finished:
            p.certaindex = entropy_certaindex(votes, empty)
        p.emit_branch(branch, votes=votes, empty=empty)
        if finished:
            await p.judge(self._progress(), p.certaindex)

    def _progress(self) -> Progress:
        return self.p.tally.progress(self._cap, self.p.ledger.usage.generated)

    def _opens_round(self) -> bool:
        decision, remaining = self.p.decision, self.p.ledger.remaining
        wants = decision is not None and decision.verdict == "branch" and self.index < self._cap
        return wants and (remaining is None or remaining > 0)

    def _why_over(self) -> StopReason:
        decision = self.p.decision
        width = self._cap if decision is None else min(self._cap, decision.width)
        return StopReason.FINISHED if self.index >= width else StopReason.TOKENS


def first_decision(p: Program[Any], progress: Progress) -> Decision:
    """What the policy says of the state that a round starts from."""
    decision: Decision = p.settings.rule.decide(progress)
    if decision.verdict == "branch":
        # It said so at the end of the last round, and this is the round it asked for.
        return Decision(verdict="continue", width=decision.width, rule=decision.rule)
    return decision
