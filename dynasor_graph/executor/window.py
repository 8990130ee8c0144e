"""Window: keeps branches in flight until the policy, the cap or the budget ends the round.

A barrier would wait for the slowest branch of each wave. The window launches the next branch as
soon as one ends, and asks the policy at each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from dynasor_graph.budget import Grant
from dynasor_graph.certaindex import entropy_certaindex
from dynasor_graph.executor.state import Branch
from dynasor_graph.policies import Decision, Progress
from dynasor_graph.types import StopReason

if TYPE_CHECKING:
    from dynasor_graph.executor.program import Program

__all__ = ["Launch", "Window"]

Launch = Callable[[int, Grant], Awaitable[Branch]]
"""Index of a branch and the tokens it is granted -> the branch."""


class Window:
    """One round of rolling branches. Single-use.

    Args:
        program: The open round.
        launch: What a branch does. Called in order of the index.
        tokens: What to ask of the ledger for one branch.
        cap: Most branches, over all rounds.
    """

    def __init__(self, program: Program[Any], launch: Launch, *, tokens: int, cap: int) -> None:
        self._p, self._launch, self._tokens, self._cap = program, launch, tokens, cap
        self._index = len(program.tally.branches)
        self._jobs: dict[asyncio.Future[Branch], tuple[int, Grant]] = {}
        self._arrived: asyncio.Queue[asyncio.Future[Branch]] = asyncio.Queue()

    async def roll(self) -> list[Branch]:
        """Run until nothing is in flight and nothing may be launched; the branches of the round."""
        p, done = self._p, []
        p.decision = self._first_decision()
        try:
            while await self._fill():
                finished = await p.before_deadline(self._arrived)
                if finished is None:
                    await p.stop(StopReason.DEADLINE)
                    continue
                index, grant = self._jobs.pop(finished)
                branch = finished.result()
                p.settle(index, grant, branch)
                done.append(branch)
                await self._observe(branch)
        finally:
            # Bites only if the caller cancelled, or a branch failed.
            for job in self._jobs:
                job.cancel()
        if p.stop_reason is None and not self._opens_round():
            p.stop_reason = self._why_over()
        return done

    async def _fill(self) -> bool:
        """Launch what may be launched; whether anything is in flight."""
        while True:
            while self._may_launch() and (grant := self._grant()) is not None:
                self._start(grant)
            if self._jobs or not self._may_launch():
                return bool(self._jobs)
            if not await self._p.wait_for_others(self._useful()):
                return False

    def _start(self, grant: Grant) -> None:
        index = self._index
        job = self._p.tasks.start(index, lambda: self._launch(index, grant))
        job.add_done_callback(self._arrived.put_nowait)
        self._jobs[job] = (index, grant)
        self._index += 1

    def _may_launch(self) -> bool:
        p = self._p
        return (
            p.stop_reason is None
            and p.decision is not None
            and p.decision.verdict == "continue"
            and self._index < min(self._cap, p.decision.width)
            and len(self._jobs) < p.settings.budget.concurrency
        )

    # Tokens ------------------------------------------------------------------------------------

    def _grant(self) -> Grant | None:
        # While others run, wait for what they give back: a branch that is cut has no answer.
        least = self._tokens if self._jobs else self._useful()
        return self._p.ledger.reserve(self._tokens, least)

    def _useful(self) -> int:
        """Fewest tokens worth starting a branch with."""
        return min(self._tokens, max(1, round(self._p.tally.mean_tokens)))

    # Deciding ----------------------------------------------------------------------------------

    async def _observe(self, branch: Branch) -> None:
        p = self._p
        await p.tally.add(branch)
        votes, empty = p.tally.votes, p.tally.empty
        finished = branch["finish"] != "terminated"
        if finished:
            p.certaindex = entropy_certaindex(votes, empty)
        p.emit_branch(branch, votes=votes, empty=empty)
        if finished:
            await p.judge(self._progress(), p.certaindex)

    def _progress(self) -> Progress:
        tally = self._p.tally
        return Progress(
            knob=tally.finished,
            cap=self._cap,
            votes=tally.votes,
            empty=tally.empty,
            tokens=self._p.ledger.usage.generated,
            mean_tokens=tally.mean_tokens,
        )

    def _first_decision(self) -> Decision:
        """What the policy says of the state that the round starts from."""
        decision: Decision = self._p.settings.rule.decide(self._progress())
        if decision.verdict == "branch":
            # It said so at the end of the last round, and this is the round it asked for.
            return Decision(verdict="continue", width=decision.width, rule=decision.rule)
        return decision

    def _opens_round(self) -> bool:
        decision, remaining = self._p.decision, self._p.ledger.remaining
        wants = decision is not None and decision.verdict == "branch" and self._index < self._cap
        return wants and (remaining is None or remaining > 0)

    def _why_over(self) -> StopReason:
        decision = self._p.decision
        width = self._cap if decision is None else min(self._cap, decision.width)
        return StopReason.FINISHED if self._index >= width else StopReason.TOKENS
