"""Standing: what the orders may know of one program. A plain value: no engine, no clock."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["FIRST_ROUND", "Standing"]

FIRST_ROUND = 512.0
"""Tokens of a round where nothing is known: neither of the program nor of its algorithm."""


class Standing(NamedTuple):
    """A program at one moment. Times are seconds of the event loop's clock.

    A named tuple, because one is made whenever something changes: it costs a third of a dataclass.

    Attributes:
        program: Its name; "" is a request that belongs to none.
        algorithm: The name of its algorithm.
        tenant: On whose account it runs.
        arrived: When it was first heard of.
        begun: When its first request was admitted to the engine, or None.
        served: Number of its last admission, counted over all programs; 0 before the first. The
            higher, the hotter its prefix.
        deadline: When its answer is due, or None.
        remaining: Rounds (or branches: the algorithm's knob) that are still expected, >= 0.
        mean_tokens: Tokens one of its rounds took so far, on average; None before the first.
        generated: Tokens it has generated so far.
        first_round: Tokens a round of its algorithm takes, on average over its programs.
        pace: Seconds that the engine takes for a token of one request, lately; 0 before the first.
    """

    program: str = ""
    algorithm: str = ""
    tenant: str = ""
    arrived: float = 0.0
    begun: float | None = None
    served: int = 0
    deadline: float | None = None
    remaining: float = 1.0
    mean_tokens: float | None = None
    generated: int = 0
    first_round: float = FIRST_ROUND
    pace: float = 0.0

    @property
    def round_tokens(self) -> float:
        """Tokens its next round will take: as its own did, else as those of its algorithm.

        That a program's rounds are alike is the paper's "program locality" (appendix D.3.1). It
        names no estimate for the first round; the mean of the algorithm is ours.
        """
        return self.first_round if self.mean_tokens is None else self.mean_tokens

    @property
    def work(self) -> float:
        """Tokens it will still take: remaining knob x tokens of a round (appendix D.3.1)."""
        return self.remaining * self.round_tokens

    @property
    def lapses(self) -> float:
        """When its deadline cannot be kept any more, for a round takes longer; never without one."""
        return math.inf if self.deadline is None else self.deadline - self.pace * self.round_tokens

    def phi(self, now: float) -> float:
        """Finish-time fairness: seconds since it arrived for each token generated.

        phi = T_shared / output tokens (appendix D.3.1, after Themis); infinite without any.
        """
        return (now - self.arrived) / self.generated if self.generated else math.inf
