"""Programs: what the scheduler was told of each program, and what it measured itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dynasor_graph.errors import ConfigError
from dynasor_graph.scheduler.standing import FIRST_ROUND, Standing

__all__ = ["Programs", "Record"]

_FADES = 0.99
"""What a request counts less with each that ends after it: the pace is that of the last 100 or so."""


@dataclass(slots=True, eq=False, kw_only=True)
class Record:
    """One program.

    Attributes:
        told: Whether somebody said that it begins, and so will say that it ends.
        queued: Requests of it that wait.
        inside: Requests of it that the engine has.
        ended: Requests of it that came to their own end.
        ended_tokens: Tokens that those generated.
    """

    name: str
    arrived: float
    algorithm: str = ""
    tenant: str = ""
    deadline: float | None = None
    remaining: float = 1.0
    told_mean: float | None = None
    begun: float | None = None
    served: int = 0
    generated: int = 0
    told: bool = False
    queued: int = 0
    inside: int = 0
    ended: int = 0
    ended_tokens: int = 0

    @property
    def mean_tokens(self) -> float | None:
        """Tokens of a round: as it was told, else those of its requests that ended by themselves."""
        if self.told_mean is not None:
            return self.told_mean
        return self.ended_tokens / self.ended if self.ended else None


class Programs:
    """All programs that are under way.

    A program is kept from the first time it is told of, or asks, until `forget`; one that nobody
    told of is dropped as soon as it has no request.
    """

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._algorithms: dict[str, _Mean] = {}
        self._seconds = self._tokens = 0.0  # of requests that ended by themselves, fading

    def __len__(self) -> int:
        return len(self._records)

    def of(self, program: str, now: float) -> Record:
        """The record of a program; a new one if it is not known. "" gets one for each request."""
        record = self._records.get(program)
        if record is None:
            record = Record(name=program, arrived=now)
            if program:
                self._records[program] = record
        return record

    def standing(self, record: Record, *, came: float | None = None) -> Standing:
        """What the orders may know of it; of one of its requests alone, if that `came` by itself."""
        alone = came is not None
        algorithm = self._algorithms.get(record.algorithm)
        # By position: with names it takes three times as long, and every request needs one or two.
        return Standing(
            record.name,
            record.algorithm,
            record.tenant,
            record.arrived if came is None else came,
            None if alone else record.begun,
            0 if alone else record.served,
            record.deadline,
            record.remaining,
            record.mean_tokens,
            record.generated,
            algorithm.value if algorithm else FIRST_ROUND,
            self._seconds / self._tokens if self._tokens else 0.0,
        )

    def tell(
        self,
        program: str,
        now: float,
        *,
        algorithm: str | None = None,
        tenant: str | None = None,
        deadline: float | None = None,
        remaining: float | None = None,
        mean_tokens: float | None = None,
    ) -> Record:
        """Note what is given; see `Scheduler.tell`."""
        if not program:
            raise ConfigError('program must have a name to be told of, got ""')
        for name, value in (("remaining", remaining), ("mean_tokens", mean_tokens)):
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} of program {program!r} must be >= 0, got {value!r}")
        if deadline is not None and not math.isfinite(deadline):
            raise ConfigError(
                f"deadline of program {program!r} must be seconds of the event loop's clock, or be "
                f"left out; got {deadline!r}"
            )
        record = self.of(program, now)
        record.told = True
        before = record.mean_tokens
        if algorithm is not None and algorithm != record.algorithm:
            self._algorithm(record.algorithm).replace(before, None)
            record.algorithm, before = algorithm, None
        record.tenant = record.tenant if tenant is None else tenant
        record.deadline = record.deadline if deadline is None else deadline
        record.remaining = record.remaining if remaining is None else remaining
        record.told_mean = record.told_mean if mean_tokens is None else mean_tokens
        self._algorithm(record.algorithm).replace(before, record.mean_tokens)
        return record

    def measure(self, record: Record, tokens: int, *, ended: bool, seconds: float) -> None:
        """A request of the program generated so many tokens.

        Args:
            record: The program.
            tokens: How many.
            ended: Whether it came to its own end.
            seconds: For so long the engine had it.
        """
        record.generated += tokens
        if ended:
            self._seconds = _FADES * self._seconds + seconds
            self._tokens = _FADES * self._tokens + tokens
            before = record.mean_tokens
            record.ended += 1
            record.ended_tokens += tokens
            self._algorithm(record.algorithm).replace(before, record.mean_tokens)

    def forget(self, program: str) -> None:
        """The program has ended; what it still has running is served as if nobody had told of it."""
        if (record := self._records.get(program)) is not None:
            record.told = False
            self.drop_idle(record)

    def drop_idle(self, record: Record) -> None:
        """Drop a program that nobody told of and that has no request any more."""
        if not record.told and not record.queued and not record.inside:
            self._records.pop(record.name, None)

    def _algorithm(self, name: str) -> _Mean:
        return self._algorithms.setdefault(name, _Mean())


@dataclass(slots=True)
class _Mean:
    """Running mean over programs: of each the latest mean of its rounds, however many it had."""

    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else FIRST_ROUND

    def replace(self, before: float | None, after: float | None) -> None:
        if before is not None:
            self.total, self.count = self.total - before, self.count - 1
        if after is not None:
            self.total, self.count = self.total + after, self.count + 1
