"""Limits: how much one request may ask, and how much one key may have at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from dynasor_graph.server.refusal import Refusal

__all__ = ["Limits", "Turnstile"]


class Limits(BaseModel):
    """What the server lets through; beyond, a request is refused by name, never cut down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: int = Field(4 << 20, ge=1, description="of a request's body")
    body_seconds: float = Field(30.0, gt=0, description="for a body to arrive")
    prompt_tokens: int | None = Field(
        None, ge=1, description="None: what the model's context holds"
    )
    choices: int = Field(16, ge=1, description="programs of one request: n, times its prompts")
    branches: int = Field(256, ge=1, description="largest knob, and widest window, of a program")
    tokens: int | None = Field(None, ge=1, description="budget of a program that names none")
    seconds: float = Field(600.0, gt=0, description="longest deadline; that of who names none")
    concurrency: int = Field(64, ge=1, description="programs of one key at a time")
    rate: int | None = Field(None, ge=1, description="requests of one key in a minute; None: any")


@dataclass(slots=True)
class _Account:
    running: int = 0
    left: float = 0.0
    filled: float = 0.0


class Turnstile:
    """Lets a key's requests in, up to its share.

    The rate is a token bucket that holds a minute's worth: a pause may be caught up on, once.

    Args:
        limits: What a key may have.
        clock: Seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        # Keys are few: those the server was given, or the one that stands for nobody.
        self._accounts: defaultdict[str, _Account] = defaultdict(
            lambda: _Account(left=limits.rate or 0, filled=clock())
        )

    @contextmanager
    def admit(self, key: str, programs: int) -> Iterator[None]:
        """A request is under way meanwhile.

        Raises:
            Refusal: The key has as many programs as it may, or has asked too often (429).
        """
        account = self._accounts[key]
        self._take_turn(account)
        most = self._limits.concurrency
        if account.running + programs > most:
            raise Refusal(
                429,
                f"{account.running} programs of this key are running, and {most} may at a time "
                f"(this request is {programs}): wait for one of them",
                code="concurrency_limit_exceeded",
                retry_after=1,
            )
        account.running += programs
        try:
            yield
        finally:
            account.running -= programs

    def _take_turn(self, account: _Account) -> None:
        rate = self._limits.rate
        if rate is None:
            return
        now = self._clock()
        account.left = min(rate, account.left + (now - account.filled) * rate / 60)
        account.filled = now
        if account.left < 1:
            raise Refusal(
                429,
                f"this key has sent {rate} requests in a minute, and may not send more: wait",
                code="rate_limit_exceeded",
                retry_after=(1 - account.left) * 60 / rate,
            )
        account.left -= 1
