"""Scheduler: what a program tells whoever orders the requests; nothing, where nobody does."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dynasor_graph.engine import Engine

__all__ = ["Scheduler", "UNSCHEDULED", "scheduler_of"]


@runtime_checkable
class Scheduler(Protocol):
    """Takes in what is known of programs. An engine that is one is scheduled."""

    def tell(
        self,
        program: str,
        *,
        algorithm: str | None = None,
        tenant: str | None = None,
        deadline: float | None = None,
        remaining: float | None = None,
        mean_tokens: float | None = None,
    ) -> None:
        """Tell of a program: when it begins, and again after each decision. None: as before.

        Args:
            program: Its name, the `Request.program` of its requests.
            algorithm: The name of its algorithm; programs of one are expected to be alike.
            tenant: On whose account it runs.
            deadline: When its answer is wanted, in seconds of the event loop's clock.
            remaining: Rounds or branches that are still expected, >= 0: what is left of its knob,
                less what its Certaindex makes unlikely.
            mean_tokens: Tokens of one of these on average so far, >= 0; by default those of its
                requests that came to their own end.

        Raises:
            ConfigError: The program has no name, or a number is out of range.
        """
        ...

    def forget(self, program: str) -> None:
        """A program has ended."""
        ...


class _Unscheduled:
    """Whom programs tell where the engine is not scheduled."""

    def tell(self, program: str, **facts: object) -> None:
        """Nobody asked."""

    def forget(self, program: str) -> None:
        """Nobody knew."""


UNSCHEDULED: Scheduler = _Unscheduled()
"""Takes in everything, and does nothing."""


def scheduler_of(engine: Engine) -> Scheduler:
    """Whom to tell about programs on this engine."""
    return engine if isinstance(engine, Scheduler) else UNSCHEDULED
