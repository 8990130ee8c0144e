"""Schedule: a day of events, some with clock times, some in relation to others, in minutes.

The statements give how long each event takes and what comes after what; the question asks for the
minutes from the start of one event to the end of another, breaks included.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from dynasor_graph.abacus import operations as op
from dynasor_graph.abacus.problem import MAX_VALUE, Misreading, Problem, Step, in_reading_order

__all__ = ["FAMILY", "draw"]

FAMILY: Final = "schedule"

EVENTS: Final = (
    "show", "parade", "dinner", "lunch", "concert", "race", "film", "talk", "dance", "tour",
    "match", "play", "quiz", "lesson", "walk", "swim", "bake", "market", "debate", "picnic",
)  # fmt: skip
_TIMES: Final = {2: "twice", 3: "three times"}
_MINUTES: Final = range(5, 61, 5)
_LONGEST: Final = 180

_LONGER: Final = "The {name} takes {n} minutes longer than the {a}."
_SHORTER: Final = "The {name} takes {n} minutes less than the {a}."
_MULTIPLE: Final = "The {name} takes {times} as long as the {a}."
_HALF: Final = "The {name} takes half as long as the {a}."
_INVERSE_LONGER: Final = "The {a} takes {n} minutes longer than the {name}."
_INVERSE_SHORTER: Final = "The {a} takes {n} minutes less than the {name}."
_RELATIONS: Final = (
    (20, _LONGER, op.ADD, _MINUTES, None),
    (16, _SHORTER, op.SUBTRACT, _MINUTES, None),
    (10, _MULTIPLE, op.MULTIPLY, tuple(_TIMES), None),
    (8, _HALF, op.DIVIDE, (2,), None),
    (2.8, _INVERSE_LONGER, op.SUBTRACT, _MINUTES, Misreading(op.ADD, 0.45)),
    (2.8, _INVERSE_SHORTER, op.ADD, _MINUTES, Misreading(op.SUBTRACT, 0.62)),
)


@dataclass(frozen=True, slots=True)
class _Event:
    """An event: what is said of it, how long it takes, and the step that works this out."""

    name: str
    sentence: str
    minutes: int
    step: Step


def draw(rng: random.Random, steps: int, tricky: float = 1.0) -> Problem:
    """Draw a problem with exactly so many steps, 1 to 20.

    `tricky` is a factor on the weights of relations that are easily misread.
    """
    weights = [weight * (tricky if misreading else 1) for weight, *_, misreading in _RELATIONS]
    while True:
        if (problem := _attempt(rng, steps, weights)) is not None:
            return problem


def _attempt(rng: random.Random, steps: int, weights: list[float]) -> Problem | None:
    """Draw a day; None where it grows too long."""
    helper, count, breaks = rng.choice(_shapes(steps))
    names = rng.sample(EVENTS, helper + count + rng.choice((0, 0, 1)))
    events: list[_Event] = []
    for name in names:
        # Where there is a helper, the event after it builds on it: so the answer needs it.
        derived = helper == 1 == len(events)
        events.append(_event(rng, name, events, weights, derived=derived))
    needed, rest = events[: helper + count], events[helper + count :]
    day, later = needed[helper:], needed[:helper] + rest
    rng.shuffle(day)
    chosen = rng.sample(day[1:], breaks)
    pauses = {event.name: rng.choice(_MINUTES) for event in day if event in chosen}
    if sum(event.minutes for event in day) + sum(pauses.values()) > MAX_VALUE:
        return None
    said: list[tuple[str, Step | None]] = [(event.sentence, event.step) for event in needed]
    said += [(event.sentence, None) for event in rest]
    said += [
        (f"Before the {name} there is a break of {minutes} minutes.", None)
        for name, minutes in pauses.items()
    ]
    if rng.random() < 0.5:
        rng.shuffle(said)
    order = ", ".join(event.name for event in [*day, *later])
    asked = (
        f"The order is {order}. How many minutes is it from the start of the {day[0].name} "
        f"to the end of the {day[-1].name}?"
    )
    plan = in_reading_order([step for _, step in said if step is not None])
    text = " ".join([*(sentence for sentence, _ in said), asked])
    return Problem(FAMILY, text, (*plan, *_sum_up(day, pauses)))


def _shapes(steps: int) -> list[tuple[int, int, int]]:
    """All ways to so many steps: events beside the day (0 or 1), events of the day, breaks.

    Each event takes a step, each event of the day after the first another, and each break one.
    """
    return [
        (helper, count, breaks)
        for helper in (0, 1)
        for count in range(1, steps + 1)
        if 0 <= (breaks := steps - helper - (2 * count - 1)) < count
    ]


def _event(
    rng: random.Random, name: str, known: list[_Event], weights: list[float], *, derived: bool
) -> _Event:
    """Draw how long an event takes, if possible in relation to those known already."""
    while known and (derived or rng.random() < 0.7):
        _, sentence, operation, numbers, misreading = rng.choices(_RELATIONS, weights)[0]
        source = rng.choice(known)
        n = rng.choice(numbers)
        minutes = operation.apply(source.minutes, n)
        if not 1 <= minutes <= _LONGEST or (operation is op.DIVIDE and source.minutes % 2):
            continue
        said = sentence.format(name=name, n=n, a=source.name, times=_TIMES.get(n, ""))
        return _Event(name, said, minutes, Step(name, (source.name, n), operation, misreading))
    return _stated(rng, name)


def _stated(rng: random.Random, name: str) -> _Event:
    kind = rng.random()
    if kind < 0.4:
        minutes = rng.randint(5, 120)
        return _Event(name, f"The {name} takes {minutes} minutes.", minutes, Step(name, (minutes,)))
    if kind < 0.7:
        hours, rest = rng.randint(1, 2), rng.randint(1, 59)
        said = f"The {name} takes {hours} h {rest} min."
        return _Event(name, said, 60 * hours + rest, Step(name, (hours, rest), op.HOURS))
    start, minutes = rng.randint(8 * 60, 20 * 60), rng.randint(15, 150)
    said = f"The {name} takes as long as from {op.clock(start)} to {op.clock(start + minutes)}."
    return _Event(name, said, minutes, Step(name, (start, start + minutes), op.SPAN))


def _sum_up(day: list[_Event], pauses: dict[str, int]) -> list[Step]:
    """The steps that add up the events of the day and its breaks, in order."""
    steps: list[Step] = []
    so_far = day[0].name
    for event in day[1:]:
        if event.name in pauses:
            added: str | int = pauses[event.name]
            steps.append(Step(f"until {event.name}", (so_far, added), op.ADD, spelled=False))
            so_far = steps[-1].name
        steps.append(Step(f"with {event.name}", (so_far, event.name), op.ADD, spelled=False))
        so_far = steps[-1].name
    return steps
