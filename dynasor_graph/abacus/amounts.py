"""Amounts: who has how many of something, stated in relation to what others have.

The statements come in any order, some are beside the point, and the question asks for one amount,
or for the sum or the difference of two. Some relations are common and some rare; some name the known
amount first ("Mia has 5 fewer coins than Ben" says that Ben has 5 more), which hasty readers turn
round (Lewis and Mayer 1987, "Students' miscomprehension of relational statements").
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dynasor_graph.abacus import operations as op
from dynasor_graph.abacus.problem import (
    MAX_VALUE,
    Misreading,
    Operation,
    Problem,
    Step,
    in_reading_order,
)

__all__ = ["FAMILY", "draw"]

FAMILY: Final = "amounts"

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
_TIMES: Final = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}
_PARTS: Final = {2: "half", 3: "a third", 4: "a quarter"}
_SHARES: Final = (10, 20, 25, 50, 75)
_SMALL: Final = range(1, 100)
_DISTRACTION: Final = 0.08
_TRIES: Final = 30


@dataclass(frozen=True, slots=True)
class Relation:
    """A way to state an amount.

    Attributes:
        weight: How often it is drawn, relative to the others.
        sentence: The statement. `{a}` and `{b}` are whom it refers to, `{n}` is its number.
        operation: What gives the amount.
        sources: How many others it refers to, 0 to 2.
        numbers: What its number is drawn from.
        misreading: What the sentence is at times taken for.
    """

    weight: float
    sentence: str
    operation: Operation
    sources: int
    numbers: Sequence[int] = ()
    misreading: Misreading | None = None


RELATIONS: Final = (
    Relation(20, "{name} has {n} more {items} than {a}.", op.ADD, 1, _SMALL),
    Relation(16, "{name} has {n} fewer {items} than {a}.", op.SUBTRACT, 1, _SMALL),
    Relation(14, "{name} has {times} as many {items} as {a}.", op.MULTIPLY, 1, tuple(_TIMES)),
    Relation(9, "{name} has {part} as many {items} as {a}.", op.DIVIDE, 1, tuple(_PARTS)),
    Relation(12, "{name} has as many {items} as {a} and {b} together.", op.ADD, 2),
    Relation(6, "{name} has as many {items} as {a} has more than {b}.", op.SUBTRACT, 2),
    Relation(3, "{name} has as many {items} as {a} or {b}, whoever has more.", op.LARGER, 2),
    Relation(2, "{name} has as many {items} as {a} or {b}, whoever has fewer.", op.SMALLER, 2),
    Relation(4, "{name} has {n}% as many {items} as {a}.", op.PERCENT, 1, _SHARES),
    Relation(
        1.05, "{name} has {n}% fewer {items} than {a}.", op.PERCENT_OFF, 1, _SHARES,
        Misreading(op.PERCENT, 0.55),
    ),
    Relation(
        1.5, "{name} has what is left over when the {items} of {a} are put in bags of {n}.",
        op.REMAINDER, 1, range(3, 20),
    ),
    Relation(
        1.75, "{a} has {n} fewer {items} than {name}.", op.ADD, 1, _SMALL,
        Misreading(op.SUBTRACT, 0.62),
    ),
    Relation(
        1.75, "{a} has {n} more {items} than {name}.", op.SUBTRACT, 1, _SMALL,
        Misreading(op.ADD, 0.45),
    ),
    Relation(
        1.05, "{a} has {times} as many {items} as {name}.", op.DIVIDE, 1, tuple(_TIMES),
        Misreading(op.MULTIPLY, 0.75),
    ),
)  # fmt: skip
_BOXES: Final = "{name} has {n} boxes of {m} {items} each."
_BOXES_SHARE: Final = 0.05


@dataclass(slots=True)
class _Draft:
    """A problem in the making.

    Attributes:
        items: What is counted.
        names: Who has not been mentioned yet.
        weights: Of the relations.
        said: The statements, each with the step that it gives the answer; None beside the point.
        values: What everybody has.
        loose: On whom nothing builds yet.
    """

    items: str
    names: list[str]
    weights: list[float]
    said: list[tuple[str, Step | None]]
    values: dict[str, int]
    loose: list[str]


def draw(rng: random.Random, steps: int, tricky: float = 1.0) -> Problem:
    """Draw a problem with exactly so many steps, 1 to 20.

    `tricky` is a factor on the weights of relations that are easily misread.
    """
    weights = [one.weight * (tricky if one.misreading else 1) for one in RELATIONS]
    while True:
        if (problem := _attempt(rng, steps, weights)) is not None:
            return problem


def _attempt(rng: random.Random, steps: int, weights: list[float]) -> Problem | None:
    """Draw a problem; None where the draws end in a dead end."""
    pair = steps >= 3 and rng.random() < 0.3
    stated, goal = (steps - 1, 2) if pair else (steps, 1)
    draft = _Draft(rng.choice(ITEMS), rng.sample(NAMES, steps + 3), weights, [], {}, [])
    for position in range(stated):
        if not _state(rng, draft, goal, left=stated - position - 1):
            return None
    asked, last = _ask(rng, draft)
    if last and last.operation is op.ADD and sum(last.operands(draft.values)) > MAX_VALUE:
        return None
    for _ in range(rng.choices((0, 1, 2), (5, 3, 2))[0]):
        _distract(rng, draft)
    if rng.random() < 0.5:
        rng.shuffle(draft.said)
    plan = in_reading_order([step for _, step in draft.said if step is not None])
    text = " ".join([*(sentence for sentence, _ in draft.said), asked])
    return Problem(FAMILY, text, (*plan, last) if last else tuple(plan))


def _state(rng: random.Random, draft: _Draft, goal: int, left: int) -> bool:
    """Add one amount, so that `goal` loose ends can be reached in `left` further steps."""
    for _ in range(_TRIES):
        step, sentence, value = _statement(rng, draft)
        used = [x for x in step.inputs if isinstance(x, str)]
        loose = [name for name in draft.loose if name not in used] + [step.name]
        # A step can tie up one loose end more than it leaves, or leave one more.
        if 1 <= value <= MAX_VALUE and len(loose) - left <= goal <= len(loose) + left:
            draft.said.append((sentence, step))
            draft.values[step.name] = value
            draft.loose = loose
            draft.names.remove(step.name)
            return True
    return False


def _statement(rng: random.Random, draft: _Draft) -> tuple[Step, str, int]:
    name = draft.names[0]
    if not draft.said or rng.random() < 0.15:
        if rng.random() < _BOXES_SHARE:
            n, m = rng.randint(11, 40), rng.randint(11, 40)
            sentence = _BOXES.format(name=name, n=n, m=m, items=draft.items)
            return Step(name, (m, n), op.MULTIPLY), sentence, n * m
        value = rng.randint(2, rng.choice((30, 99, 400)))
        return Step(name, (value,)), f"{name} has {value} {draft.items}.", value
    relation = rng.choices(RELATIONS, draft.weights)[0]
    sources = _sources(rng, draft, relation.sources)
    if len(sources) < relation.sources:
        return _statement(rng, draft)
    n = rng.choice(relation.numbers) if relation.numbers else 0
    inputs: tuple[str | int, ...] = (*sources, n) if relation.sources == 1 else tuple(sources)
    step = Step(name, inputs, relation.operation, relation.misreading)
    words = dict(zip("ab", sources, strict=False)) | {"name": name, "items": draft.items}
    sentence = relation.sentence.format(
        n=n, times=_TIMES.get(n, ""), part=_PARTS.get(n, ""), **words
    )
    return step, sentence, _value(relation.operation, *step.operands(draft.values))


def _sources(rng: random.Random, draft: _Draft, count: int) -> list[str]:
    """Whom a statement refers to: mostly those that nothing builds on yet."""
    known = list(draft.values)
    chosen: list[str] = []
    for _ in range(count):
        loose = [name for name in draft.loose if name not in chosen]
        others = [name for name in known if name not in chosen]
        if not others:
            break
        chosen.append(rng.choice(loose if loose and rng.random() < 0.85 else others))
    return chosen


def _value(operation: Operation, left: int, right: int) -> int:
    """What an operation gives; 0, which no amount may be, where it leaves a fraction."""
    if operation is op.DIVIDE and left % right:
        return 0
    if operation in {op.PERCENT, op.PERCENT_OFF} and left * right % 100:
        return 0
    return operation.apply(left, right)


def _ask(rng: random.Random, draft: _Draft) -> tuple[str, Step | None]:
    """What is asked, and the step that answers it where that is not the last one stated."""
    if len(draft.loose) == 1:
        return f"How many {draft.items} does {draft.loose[0]} have?", None
    one, other = rng.sample(draft.loose, 2)
    if draft.values[one] > draft.values[other] and rng.random() < 0.5:
        asked = f"How many more {draft.items} does {one} have than {other}?"
        return asked, Step("Difference", (one, other), op.SUBTRACT)
    asked = f"How many {draft.items} do {one} and {other} have together?"
    return asked, Step("Together", (one, other), op.ADD)


def _distract(rng: random.Random, draft: _Draft) -> None:
    """Add a statement that is beside the point."""
    if rng.random() < _DISTRACTION:
        name = rng.choice(list(draft.values))
        if rng.random() < 0.5:
            draft.said.append((f"{name} is {rng.randint(5, 99)} years old.", None))
            return
        other = rng.choice([items for items in ITEMS if items != draft.items])
        draft.said.append((f"{name} also has {rng.randint(2, 99)} {other}.", None))
        return
    step, sentence, value = _statement(rng, draft)
    if 1 <= value <= MAX_VALUE:
        draft.said.append((sentence, None))
        draft.values[step.name] = value
        draft.names.remove(step.name)
