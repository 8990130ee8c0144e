r"""Multi-step arithmetic word problems with exact solutions and three styles of answer.

A problem states amounts ("Ben has 3 more coins than Mia.") in any order, some of them irrelevant,
and asks for one amount or for the sum of two. Its difficulty is the number of lines that a correct
solution needs.

Styles of answer:
    direct: one line per step, then ``The answer is \boxed{N}.``
    think: ``<think>``, several attempts with re-checks as reasoning models write them,
        ``</think>``, then the answer.
    probe: a trace of either style cut anywhere, then `PROBE` and the forced answer.

Everything is drawn from the `random.Random` that the caller hands in, so a seed fixes the text.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dynasor_graph.errors import ConfigError

__all__ = [
    "ITEMS",
    "MAX_DIFFICULTY",
    "MAX_VALUE",
    "NAMES",
    "PROBE",
    "Kind",
    "Problem",
    "Quantity",
    "Question",
    "chat",
    "derivation",
    "direct",
    "example",
    "make",
    "probe",
    "questions",
    "think",
]

Kind = Literal["base", "add", "sub", "mul", "half", "sum"]

# fmt: off
NAMES: Final = (
    "Ada", "Ben", "Cara", "Dan", "Eve", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Liam",
    "Mia", "Noah", "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tina", "Uma", "Vera", "Will", "Xena",
    "Yara", "Zoe", "Amir", "Bela", "Chen", "Dora", "Emil", "Faye",
)
ITEMS: Final = (
    "coins", "apples", "books", "marbles", "stamps", "pencils", "shells", "cards", "buttons",
    "stickers", "beads", "keys", "cookies", "tickets", "stones", "flowers",
)
# fmt: on
PROBE: Final = (
    "\n... Oh, I suddenly got the answer to the whole problem, **Final Answer**\n\n\\[ \\boxed{"
)
MAX_VALUE: Final = 299
# Problems are drawn until one has the wanted length. That takes 0.4 ms at 10 steps, 4 ms at 16 and
# 24 ms at 20 on one core, then almost triples with every two steps.
MAX_DIFFICULTY: Final = 20

_DIRECT_STEPS: Final = 10
_THINK_STEPS: Final = 8

# "add" stands twice because it is to be drawn twice as often.
_DERIVED_KINDS: Final[tuple[Kind, ...]] = ("add", "add", "sub", "mul", "half", "sum")
_PHRASES: Final[Mapping[Kind, str]] = {
    "add": "{operand} more {item} than {source}",
    "sub": "{operand} fewer {item} than {source}",
    "mul": "{times} as many {item} as {source}",
    "half": "half as many {item} as {source}",
    "sum": "as many {item} as {source} and {operand} together",
}
_TIMES: Final[Mapping[int, str]] = {2: "twice", 3: "three times", 4: "four times"}
_OPERATIONS: Final[Mapping[Kind, Callable[[int, int], int]]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "half": operator.floordiv,
    "sum": operator.add,
}
_EXPRESSIONS: Final[Mapping[Kind, str]] = {
    "add": "{left} + {right}",
    "sub": "{left} - {right}",
    "mul": "{right} * {left}",
    "half": "{left} / {right}",
    "sum": "{left} + {right}",
}

_SLIPS: Final = (-10, -2, -1, 1, 2, 10)
_FIRST_ERROR_RATE: Final = 0.05
_LATER_ERROR_RATE: Final = 0.02

_OPENINGS: Final = (
    "Let me work it out.",
    "Okay, step by step.",
    "Alright, let me see.",
    "Let me think.",
)
_RECHECKS: Final = (
    "Wait, let me double-check.",
    "Hmm, let me verify that.",
    "But let me check again.",
    "Hold on, let me recompute.",
    "Let me make sure.",
)
_AGREEMENTS: Final = ("That matches.", "Same as before.", "Good, that agrees.")
_DIFFERENCES: Final = (
    "That is different from before.",
    "Hmm, that does not match.",
    "No, that differs.",
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One person's amount and the sentence that states it.

    Attributes:
        name: The person.
        sentence: What the question says about the amount.
        kind: How the amount follows from others; "base" means that it is stated outright.
        sources: The persons it is computed from: none for "base", two for "sum", else one.
        number: The constant of the step; None for "sum", which has none.
        value: The true amount, 1 to `MAX_VALUE`.
    """

    name: str
    sentence: str
    kind: Kind
    sources: tuple[str, ...]
    number: int | None
    value: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A word problem with its solution.

    Attributes:
        question: The full text: statements, then what is asked.
        answer: The true answer, 1 to `MAX_VALUE`.
        plan: The amounts that the answer needs, each after those it is computed from.
        targets: The one person, or the two persons, whose amount is asked for.
        quantities: All stated amounts, irrelevant ones included, in the order of drawing.
    """

    question: str
    answer: int
    plan: tuple[Quantity, ...]
    targets: tuple[str, ...]
    quantities: tuple[Quantity, ...]

    @property
    def difficulty(self) -> int:
        """The number of lines of a correct solution, without the line that boxes the answer."""
        return len(self.plan) + (len(self.targets) > 1)

    @property
    def values(self) -> dict[str, int]:
        """The true amount of every person."""
        return {quantity.name: quantity.value for quantity in self.quantities}


@dataclass(frozen=True, slots=True)
class Question:
    """A problem as a benchmark holds it.

    Attributes:
        id: Its name, unique in the list it came in: ``abacus-s<steps>-<position>``.
        question: The text to ask.
        answer: The true answer, in decimal digits.
        steps: The number of lines of a correct solution.
    """

    id: str
    question: str
    answer: str
    steps: int


def make(rng: random.Random, difficulty: int) -> Problem:
    """Draw a problem of an exact difficulty.

    Args:
        rng: The source of randomness.
        difficulty: How many lines a correct solution needs, 1 to `MAX_DIFFICULTY`.

    Returns:
        The problem; all its amounts and its answer are between 1 and `MAX_VALUE`.

    Raises:
        ConfigError: `difficulty` is outside its range.
    """
    _check_range("difficulty", difficulty, 1, MAX_DIFFICULTY)
    while True:
        problem = _attempt(rng, difficulty)
        if problem is not None:
            return problem


def derivation(
    problem: Problem, rng: random.Random | None = None, error_rate: float = 0.0
) -> tuple[list[str], int]:
    """Write out a solution, with slips on request.

    Args:
        problem: The problem to solve.
        rng: The source of slips; without it the solution is correct.
        error_rate: The chance, 0 to 1, that a computed line errs. Later lines go on from the error.

    Returns:
        The lines of the solution and the value that they reach.

    Raises:
        ConfigError: `error_rate` is outside its range, or is above 0 without an `rng`.
    """
    _check_range("error_rate", error_rate, 0.0, 1.0)
    if rng is None and error_rate > 0:
        raise ConfigError(f"error_rate must be 0 where no rng is given, got {error_rate}")
    reached: dict[str, int] = {}
    lines = []
    for quantity in problem.plan:
        if quantity.kind == "base":
            reached[quantity.name] = quantity.value
            lines.append(f"{quantity.name} has {quantity.value}.")
        else:
            expression, result = _compute(quantity, reached)
            reached[quantity.name] = value = _slip(result, rng, error_rate)
            lines.append(f"{quantity.name} has {expression} = {value}.")
    if len(problem.targets) == 1:
        return lines, reached[problem.targets[0]]
    left, right = (reached[target] for target in problem.targets)
    value = _slip(left + right, rng, error_rate)
    lines.append(f"Together {left} + {right} = {value}.")
    return lines, value


def direct(problem: Problem) -> str:
    """Write the correct solution and the boxed answer."""
    lines, value = derivation(problem)
    return "\n".join(lines) + f"\nThe answer is \\boxed{{{value}}}."


def think(problem: Problem, rng: random.Random) -> str:
    """Write a reasoning trace and the boxed answer.

    The trace repeats the solution, with slips, until two attempts in a row reach the true answer,
    and at times once or twice more: it overthinks, as reasoning models do.

    Args:
        problem: The problem to solve.
        rng: The source of slips, phrases and repetitions.

    Returns:
        ``<think>``, the attempts, ``</think>`` and the true answer.
    """
    text = ["<think>", rng.choice(_OPENINGS)]
    last: int | None = None
    attempts = 0
    while True:
        error_rate = _FIRST_ERROR_RATE if attempts == 0 else _LATER_ERROR_RATE
        lines, value = derivation(problem, rng, error_rate)
        # Wrong attempts are left out from the fourth on, so that no trace grows without end.
        if attempts >= 3 and value != problem.answer:
            continue
        attempts += 1
        text += [*lines, f"So I get {value}."]
        if last is not None:
            text.append(rng.choice(_AGREEMENTS if value == last else _DIFFERENCES))
        agreed = value == last == problem.answer
        last = value
        if agreed and (attempts >= 4 or rng.random() < 0.5):
            break
        text.append(rng.choice(_RECHECKS))
    return "\n".join(text) + f"\n</think>\nThe answer is \\boxed{{{problem.answer}}}."


def probe(problem: Problem, rng: random.Random) -> str:
    """Write a trace that is cut anywhere and forced to its answer.

    Args:
        problem: The problem to solve.
        rng: The source of the trace (four in five are reasoning traces) and of the cut.

    Returns:
        The start of a trace, `PROBE`, the true answer and a closing brace.
    """
    text = think(problem, rng) if rng.random() < 0.8 else direct(problem)
    body = text.split("\n</think>")[0].split("\nThe answer is")[0]
    cut = rng.randint(0, len(body))
    return body[:cut] + PROBE + f"{problem.answer}}}"


def chat(question: str, completion: str = "") -> str:
    """Wrap a question, and what the model has answered so far, in the chat format of the model."""
    return f"<|user|>{question}<|assistant|>{completion}"


def example(rng: random.Random) -> tuple[str, str]:
    """Draw one training example.

    Half of them are direct answers to problems of 1 to 10 steps, three in ten reasoning traces and
    two in ten probes, both on 1 to 8 steps.

    Args:
        rng: The source of randomness.

    Returns:
        The prompt in chat format, and the completion to learn.
    """
    style = rng.random()
    problem = make(rng, rng.randint(1, _DIRECT_STEPS if style < 0.5 else _THINK_STEPS))
    if style < 0.5:
        completion = direct(problem)
    elif style < 0.8:
        completion = think(problem, rng)
    else:
        completion = probe(problem, rng)
    return chat(problem.question), completion


def questions(n: int, *, seed: int, steps: tuple[int, int] = (1, 14)) -> list[Question]:
    """Draw different questions, spread evenly over a range of difficulty and easiest first.

    Args:
        n: How many questions, at least 1.
        seed: Fixes the questions; the same arguments give the same list on every machine.
        steps: The least and the greatest difficulty, both included, within 1 to `MAX_DIFFICULTY`.
            The bundled model was trained on 1 to 10.

    Returns:
        The questions. Where `n` is a multiple of the number of difficulties, all of them get
        equally many; else their counts differ by one at most.

    Raises:
        ConfigError: `n` or `steps` is outside its range.
    """
    if n < 1:
        raise ConfigError(f"n must be at least 1, got {n}")
    low, high = steps
    if not 1 <= low <= high <= MAX_DIFFICULTY:
        raise ConfigError(
            f"steps must be (low, high) with 1 <= low <= high <= {MAX_DIFFICULTY}, got {steps}"
        )
    rng = random.Random(seed)
    span = high - low + 1
    asked: set[str] = set()
    drawn = []
    for position in range(n):
        # The middle of the position's share of the range, so that few questions cover it too.
        difficulty = low + (2 * position + 1) * span // (2 * n)
        problem = make(rng, difficulty)
        while problem.question in asked:
            problem = make(rng, difficulty)
        asked.add(problem.question)
        name = f"abacus-s{difficulty}-{position:04d}"
        drawn.append(Question(name, problem.question, str(problem.answer), difficulty))
    return drawn


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low} and {high}, got {value}")


def _attempt(rng: random.Random, difficulty: int) -> Problem | None:
    """Draw amounts; None if nothing that could be asked about them has the difficulty."""
    item = rng.choice(ITEMS)
    # Drawn before the difficulty is looked at: the order of draws decides what a seed gives.
    pair = rng.random() < 0.3 and difficulty > 2
    names = rng.sample(NAMES, difficulty + rng.randint(0, 2))
    known: list[Quantity] = []
    for name in names:
        known.append(_quantity(rng, name, item, known))
    needs = _needs(known)
    candidates = _pairs(known, needs, difficulty) if pair else _singles(known, needs, difficulty)
    if not candidates:
        return None
    targets = rng.choice(candidates)
    used = frozenset[str]().union(*(needs[target] for target in targets))
    sentences = [quantity.sentence for quantity in known]
    if rng.random() < 0.5:
        rng.shuffle(sentences)
    return Problem(
        question=" ".join([*sentences, _ask(item, targets)]),
        answer=sum(quantity.value for quantity in known if quantity.name in targets),
        plan=tuple(quantity for quantity in known if quantity.name in used),
        targets=targets,
        quantities=tuple(known),
    )


def _quantity(rng: random.Random, name: str, item: str, known: Sequence[Quantity]) -> Quantity:
    """Draw an amount, if possible one that builds on those known already."""
    if known and rng.random() > 0.15:
        for _ in range(4):
            derived = _derive(rng, name, item, known)
            if derived is not None:
                return derived
    value = rng.randint(2, 30)
    return Quantity(name, f"{name} has {value} {item}.", "base", (), value, value)


def _derive(rng: random.Random, name: str, item: str, known: Sequence[Quantity]) -> Quantity | None:
    """Draw an amount that follows from known ones; None if the draw does not work out."""
    source = known[-1] if rng.random() < 0.65 else rng.choice(known)
    kind = rng.choice(_DERIVED_KINDS)
    operand = _operand(rng, kind, source, known)
    if operand is None:
        return None
    sources: tuple[str, ...]
    if isinstance(operand, Quantity):
        sources, number, right, shown = (
            (source.name, operand.name),
            None,
            operand.value,
            operand.name,
        )
    else:
        sources, number, right, shown = (source.name,), operand, operand, str(operand)
    value = _OPERATIONS[kind](source.value, right)
    if not 0 < value <= MAX_VALUE:
        return None
    times = _TIMES.get(right, "")
    phrase = _PHRASES[kind].format(operand=shown, times=times, item=item, source=source.name)
    return Quantity(name, f"{name} has {phrase}.", kind, sources, number, value)


def _operand(
    rng: random.Random, kind: Kind, source: Quantity, known: Sequence[Quantity]
) -> int | Quantity | None:
    """Draw what a step combines its source with; None where the kind cannot apply to it."""
    if kind == "add":
        return rng.randint(1, 20)
    if kind == "sub":
        return rng.randint(1, min(20, source.value - 1)) if source.value > 1 else None
    if kind == "mul":
        return rng.randint(2, 4)
    if kind == "half":
        return 2 if source.value % 2 == 0 else None
    others = [quantity for quantity in known if quantity.name != source.name]
    return rng.choice(others) if others else None


def _needs(known: Sequence[Quantity]) -> dict[str, frozenset[str]]:
    """For each person, everyone whose amount has to be worked out on the way, the person too."""
    needs: dict[str, frozenset[str]] = {}
    for quantity in known:
        below = (needs[source] for source in quantity.sources)
        needs[quantity.name] = frozenset((quantity.name,)).union(*below)
    return needs


def _singles(
    known: Sequence[Quantity], needs: Mapping[str, frozenset[str]], difficulty: int
) -> list[tuple[str, ...]]:
    return [(q.name,) for q in known if len(needs[q.name]) == difficulty]


def _pairs(
    known: Sequence[Quantity], needs: Mapping[str, frozenset[str]], difficulty: int
) -> list[tuple[str, ...]]:
    return [
        (a.name, b.name)
        for a in known
        for b in known
        if a is not b
        and len(needs[a.name] | needs[b.name]) + 1 == difficulty
        and a.value + b.value <= MAX_VALUE
    ]


def _ask(item: str, targets: tuple[str, ...]) -> str:
    if len(targets) == 1:
        return f"How many {item} does {targets[0]} have?"
    return f"How many {item} do {targets[0]} and {targets[1]} have together?"


def _compute(quantity: Quantity, reached: Mapping[str, int]) -> tuple[str, int]:
    """The expression of a step and its result, from the values reached so far."""
    left = reached[quantity.sources[0]]
    right = reached[quantity.sources[1]] if quantity.number is None else quantity.number
    expression = _EXPRESSIONS[quantity.kind].format(left=left, right=right)
    return expression, _OPERATIONS[quantity.kind](left, right)


def _slip(value: int, rng: random.Random | None, error_rate: float) -> int:
    """The value, or with the chance `error_rate` one near it."""
    if rng is None or rng.random() >= error_rate:
        return value
    return max(0, value + rng.choice(_SLIPS))
