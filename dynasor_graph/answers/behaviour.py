"""Behaviour: two programs are the same answer if they give the same outputs on the same inputs."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.answers.extract import last_block

if TYPE_CHECKING:
    from dynasor_graph.sandbox import Output, Sandbox

__all__ = ["Behaviour", "vary"]


class Behaviour(Kind):
    """A Python program, by what it does on inputs, as in MBR-exec and CodeT.

    It runs in a `Sandbox`, so the answer is what it does and not its text. A program that cannot be
    read, fails on every input, or never prints anything, is no answer. One that fails on some inputs is
    the same as another that fails on them in the same way. More inputs tell more programs apart.
    """

    per_question = frozenset({"inputs", "function"})
    local = frozenset({"kind"})  # all of it: nobody has a server run programs
    stands = "code"

    kind: Literal["behaviour"] = "behaviour"
    inputs: tuple[str | tuple[Any, ...], ...] = Field(
        (), description="texts for standard input, or with `function` lists of arguments"
    )
    function: str | None = Field(None, description="is called; None: the program is run")
    more: int = Field(0, ge=0, le=1000, description="inputs to add, varied from those given")
    seconds: float = Field(2.0, gt=0, le=60, description="for each input")
    total_seconds: float = Field(10.0, gt=0, le=600, description="for all inputs of a program")
    memory_mib: int = Field(256, ge=64, description="for each process")

    @field_validator("inputs", mode="before")
    @classmethod
    def _read_inputs(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) and value.startswith("[") else value

    @model_validator(mode="after")
    def _check_inputs(self) -> Self:
        if self.inputs:
            self._program("")
        return self

    def for_question(self, fields: Mapping[str, Any], gold: str | None) -> Self:
        """The kind with the question's inputs.

        Raises:
            ValueError: There are no inputs, or they are not of the form that is run.
        """
        found = super().for_question(fields, gold)
        if not found.inputs:
            raise ValueError(
                "the kind 'behaviour' needs inputs to run programs on: give the question a field "
                '"inputs", such as ["1 2", "3 4"], or with "function": "add" [[1, 2], [3, 4]]'
            )
        return found

    @functools.cached_property
    def all_inputs(self) -> tuple[Any, ...]:
        """The inputs that were given, then those varied from them."""
        return (*self.inputs, *vary(self.inputs, self.more))

    async def form(self, answer: str) -> tuple[str, ...] | None:
        """What the program does on each input; None if it is none or fails on all of them."""
        return await _cached(self, source_of(answer))

    async def gold(self, text: str) -> tuple[str, ...] | None:
        """A right program, or a JSON list of the right outputs, one for each of the inputs."""
        from dynasor_graph.sandbox import written

        try:
            wanted = json.loads(text)
        except ValueError:
            return await self.form(text)
        if not isinstance(wanted, list) or len(wanted) != len(self.all_inputs):
            return None
        return tuple(
            _told(one if self.function is None and isinstance(one, str) else written(one))
            for one in wanted
        )

    async def run(self, source: str) -> tuple[Output, ...]:
        """What the sandbox says of a program on each of the inputs.

        Raises:
            InputError: There are no inputs.
            SandboxError: Untrusted programs cannot be run here.
        """
        box = _sandbox(self.seconds, self.total_seconds, self.memory_mib)
        return (await box.run(self._program(source))).outputs

    def _program(self, source: str) -> Any:
        from dynasor_graph.sandbox import Script

        return Script(source, [_plain(one) for one in self.all_inputs], self.function)


def source_of(answer: str) -> str:
    """The program in an answer: its last fenced block, or all of it."""
    block = last_block(answer)
    return answer if block is None else block


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _told(value: str) -> str:
    """An output as it is compared: without blanks at the ends of lines; a long one by its digest."""
    text = "\n".join(line.rstrip() for line in value.rstrip().splitlines())
    return "= " + (text if len(text) <= 200 else hashlib.sha256(text.encode()).hexdigest())


def _behaviour(outputs: Sequence[Output]) -> tuple[str, ...] | None:
    if not any(output.value for output in outputs):
        return None
    return tuple(
        f"! {output.exception or output.failure}" if output.value is None else _told(output.value)
        for output in outputs
    )


_KEPT = 4096
_found: OrderedDict[bytes, tuple[str, ...] | None] = OrderedDict()


async def _cached(kind: Behaviour, source: str) -> tuple[str, ...] | None:
    """Programs come back: in the vote, after a crash, in another round. Each runs once."""
    key = hashlib.sha256(json.dumps([kind.model_dump_json(), source]).encode()).digest()
    if key not in _found:
        _found[key] = _behaviour(await kind.run(source))
        if len(_found) > _KEPT:
            _found.popitem(last=False)
    return _found[key]


@functools.cache
def _sandbox(seconds: float, total_seconds: float, memory_mib: int) -> Sandbox:
    """The sandbox of this process for these limits; it ends with the process."""
    from dynasor_graph.sandbox import Limits, Sandbox

    box = Sandbox(Limits(seconds=seconds, total_seconds=total_seconds, memory=memory_mib << 20))
    atexit.register(box.close)
    return box


# Inputs from inputs --------------------------------------------------------------------------------


def vary(inputs: Sequence[Any], count: int, seed: int = 0) -> tuple[Any, ...]:
    """Inputs like those given: changed in one place each, of the same types (EvalPlus, 2305.01210).

    Args:
        inputs: Texts or lists of arguments.
        count: How many to make; fewer come back where no more can be found.
        seed: The same inputs and seed give the same.
    """
    draw, seen, made = random.Random(seed), {_key(one) for one in inputs}, list(inputs)
    for _ in range(20 * count if inputs else 0):
        if len(made) == len(inputs) + count:
            break
        one = _varied(draw.choice(made), draw)
        if _key(one) not in seen:
            seen.add(_key(one))
            made.append(one)
    return tuple(made[len(inputs) :])


def _key(value: Any) -> str:
    return json.dumps(value)


def _varied(value: Any, draw: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return draw.choice(
                [value + 1, value - 1, -value, value * 2, 0, draw.randint(-100, 100)]
            )
        case float():
            return draw.choice([value + 1, value - 1, -value, value / 2, 0.0])
        case str():
            return _varied_text(value, draw)
        case list() | tuple() if value:
            at = draw.randrange(len(value))
            return type(value)(
                _varied(one, draw) if place == at else one for place, one in enumerate(value)
            )
        case _:
            return value


def _varied_text(text: str, draw: random.Random) -> str:
    """With one word changed if it is a number; else two letters exchanged, or one more or fewer."""
    words = text.split(" ")
    numbers = [at for at, word in enumerate(words) if word.strip().lstrip("-").isdecimal()]
    if numbers:
        at = draw.choice(numbers)
        number = words[at].strip()
        words[at] = words[at].replace(number, str(_varied(int(number), draw)))
        return " ".join(words)
    letters = list(text)
    if not letters:
        return text
    at, other = draw.randrange(len(letters)), draw.randrange(len(letters))
    match draw.randrange(3):
        case 0:
            letters[at], letters[other] = letters[other], letters[at]
        case 1:
            letters.insert(at, letters[other])
        case _:
            del letters[at]
    return "".join(letters)
