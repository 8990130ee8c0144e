"""Script: source to run on inputs, within limits, and what came of it. Plain values."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dynasor_graph.errors import ConfigError, InputError

__all__ = ["Failure", "Limits", "Outcome", "Output", "Script"]

Failure = Literal["syntax", "exception", "timeout", "memory", "output", "crash"]
"""How a program failed on an input; `crash`: it ended without a word (a signal, `os._exit`)."""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use, for each input anew.

    Raises:
        ConfigError: A limit is no number, or below the least that an interpreter needs.
    """

    seconds: float = 2.0
    """Wall time for an input, and its processor time too; > 0."""
    total_seconds: float = 10.0
    """Wall time for all inputs together; those it does not suffice for count as timeouts."""
    memory: int = 256 * _MIB
    """Bytes of address space of each process; at least 64 MiB."""
    output: int = 64 * 1024
    """Bytes that it may print, and characters of a returned value."""
    files: int = 16 * _MIB
    """Bytes that it may write: in all with namespaces, in each file without."""
    processes: int = 8
    """Processes and threads at once; without namespaces it gets no second process."""

    def __post_init__(self) -> None:
        least = {
            "seconds": 0.01,
            "total_seconds": 0.01,
            "memory": 64 * _MIB,
            "output": 1,
            "files": 4096,
            "processes": 1,
        }
        for name, at_least in least.items():
            value = getattr(self, name)
            whole = isinstance(at_least, int)
            right = isinstance(value, int if whole else (int, float)) and math.isfinite(value)
            if isinstance(value, bool) or not right or value < at_least:
                number = "whole number" if whole else "number"
                raise ConfigError(
                    f"limits.{name}: must be a {number} of at least {at_least}, got {value!r}"
                )


@dataclass(frozen=True, slots=True)
class Script:
    """A Python program and its inputs.

    Raises:
        InputError: There is no input, or one is not of the form that is run.
    """

    source: str
    """Python 3."""
    inputs: Sequence[Any]
    """Texts for standard input; with `function` lists of arguments, each plain JSON."""
    function: str | None = None
    """Called with each list of arguments; None: the program is run with each text."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError("inputs: a program needs at least one input to run on, got none")
        if self.function is not None and not self.function.isidentifier():
            raise InputError(f"function: must be the name of a function, got {self.function!r}")
        for at, given in enumerate(self.inputs):
            right = (
                isinstance(given, str) if self.function is None else isinstance(given, list | tuple)
            )
            if not right:
                wanted = "a text" if self.function is None else "a list of arguments"
                raise InputError(f"inputs.{at}: must be {wanted}, got {given!r}")
        try:
            json.dumps(self.inputs)
        except (TypeError, ValueError) as error:
            raise InputError(f"inputs: must be plain JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Output:
    """What a program did with one input."""

    value: str | None = None
    """What it printed, or what the function returned, written in one way only; None: it failed."""
    failure: Failure | None = None
    detail: str = field(default="", compare=False)
    """For people: the exception's message and line, or the limit that was met."""
    exception: str | None = None
    """The exception's type, such as `ValueError`."""
    seconds: float = field(default=0.0, compare=False)
    """Wall time that it took."""

    def as_row(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did with all its inputs, in their order."""

    outputs: tuple[Output, ...]

    @property
    def values(self) -> tuple[str | None, ...]:
        """What it gave for each input; None where it failed."""
        return tuple(output.value for output in self.outputs)

    @property
    def failed(self) -> bool:
        """Whether it failed on every input."""
        return all(output.failure is not None for output in self.outputs)
