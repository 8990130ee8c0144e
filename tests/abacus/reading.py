"""Reading: what a question says, worked out from its text alone, and digests of what was drawn.

Nothing here looks at the plan of a problem or at the templates of the generator: that the two come
to the same answers shows that the questions mean what their gold answers claim.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final

Terms = Mapping[str, Fraction]

FACTORS: Final = {
    "half": Fraction(1, 2),
    "a third": Fraction(1, 3),
    "a quarter": Fraction(1, 4),
    "twice": Fraction(2),
    "three times": Fraction(3),
    "four times": Fraction(4),
    "five times": Fraction(5),
}
TOKENS: Final = {
    "X": r"(?P<X>\w+)",
    "Y": r"(?P<Y>\w+)",
    "Z": r"(?P<Z>\w+)",
    "ITEMS": r"(?P<ITEMS>[a-z]+)",
    "FACTOR": rf"(?P<FACTOR>{'|'.join(FACTORS)})",
    "FROM": r"(?P<FROM>\d+:\d\d)",
    "TO": r"(?P<TO>\d+:\d\d)",
    "N": r"(?P<N>[1-9]\d*)",
    "M": r"(?P<M>[1-9]\d*)",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A form of statement, and all that follows from it.

    Attributes:
        form: Its words; those in capitals stand for names (X, Y, Z), numbers and the like.
        ways: What can be worked out of it once the rest is known: of whom, and how.
    """

    form: str
    ways: Mapping[str, Callable[[Terms], Fraction]]

    def read(self, text: str) -> dict[str, str] | None:
        """What stands for the capitals in a text of this form; None if it has another."""
        found = pattern(self.form).fullmatch(text)
        return found.groupdict() if found else None


AMOUNTS: Final = (
    Sentence("X has N ITEMS", {"X": lambda t: t["N"]}),
    Sentence("X has N boxes of M ITEMS each", {"X": lambda t: t["N"] * t["M"]}),
    Sentence(
        "X has N more ITEMS than Y",
        {"X": lambda t: t["Y"] + t["N"], "Y": lambda t: t["X"] - t["N"]},
    ),
    Sentence(
        "X has N fewer ITEMS than Y",
        {"X": lambda t: t["Y"] - t["N"], "Y": lambda t: t["X"] + t["N"]},
    ),
    Sentence(
        "X has FACTOR as many ITEMS as Y",
        {"X": lambda t: t["Y"] * t["FACTOR"], "Y": lambda t: t["X"] / t["FACTOR"]},
    ),
    Sentence("X has as many ITEMS as Y and Z together", {"X": lambda t: t["Y"] + t["Z"]}),
    Sentence("X has as many ITEMS as Y has more than Z", {"X": lambda t: t["Y"] - t["Z"]}),
    Sentence(
        "X has as many ITEMS as Y or Z, whoever has more", {"X": lambda t: max(t["Y"], t["Z"])}
    ),
    Sentence(
        "X has as many ITEMS as Y or Z, whoever has fewer", {"X": lambda t: min(t["Y"], t["Z"])}
    ),
    Sentence("X has N% as many ITEMS as Y", {"X": lambda t: t["Y"] * t["N"] / 100}),
    Sentence("X has N% fewer ITEMS than Y", {"X": lambda t: t["Y"] * (100 - t["N"]) / 100}),
    Sentence(
        "X has what is left over when the ITEMS of Y are put in bags of N",
        {"X": lambda t: t["Y"] % t["N"]},
    ),
    Sentence("X is N years old", {}),
    Sentence("X also has N ITEMS", {}),
)
SCHEDULE: Final = (
    Sentence("The X takes N minutes", {"X": lambda t: t["N"]}),
    Sentence("The X takes N h M min", {"X": lambda t: 60 * t["N"] + t["M"]}),
    Sentence("The X takes as long as from FROM to TO", {"X": lambda t: t["TO"] - t["FROM"]}),
    Sentence(
        "The X takes N minutes longer than the Y",
        {"X": lambda t: t["Y"] + t["N"], "Y": lambda t: t["X"] - t["N"]},
    ),
    Sentence(
        "The X takes N minutes less than the Y",
        {"X": lambda t: t["Y"] - t["N"], "Y": lambda t: t["X"] + t["N"]},
    ),
    Sentence(
        "The X takes FACTOR as long as the Y",
        {"X": lambda t: t["Y"] * t["FACTOR"], "Y": lambda t: t["X"] / t["FACTOR"]},
    ),
    Sentence("Before the X there is a break of N minutes", {}),
)
SINGLE: Final = "How many ITEMS does X have"
DIFFERENCE: Final = "How many more ITEMS does X have than Y"
TOGETHER: Final = "How many ITEMS do X and Y have together"
SPAN: Final = "How many minutes is it from the start of the X to the end of the Y"


@dataclass(frozen=True, slots=True)
class Understood:
    """What a question says.

    Attributes:
        lines: All that the answer needs and what it amounts to, as it can be worked out when the
            text is read again and again from its beginning; the last is the answer.
        values: What is known of everybody and everything in the end, needed or not.
        forms: How often each form of sentence occurs.
    """

    lines: dict[str, int]
    values: dict[str, int]
    forms: Counter[str]

    @property
    def answer(self) -> int:
        return list(self.lines.values())[-1]

    @property
    def steps(self) -> int:
        return len(self.lines)


def understand(question: str) -> Understood:
    """Solve a question of either family."""
    *statements, asked = (text.strip() for text in re.findall(r"[^.?]+[.?]", question))
    told = [text.removesuffix(".") for text in statements]
    asked = asked.removesuffix("?")
    if told[-1].startswith("The order is "):
        order = told.pop().removeprefix("The order is ").split(", ")
        return understand_schedule(told, order, asked)
    return understand_amounts(told, asked)


def understand_amounts(told: list[str], asked: str) -> Understood:
    (form, given), *others = (
        (form, found.groupdict())
        for form in (SINGLE, DIFFERENCE, TOGETHER)
        if (found := pattern(form).fullmatch(asked))
    )
    assert not others, asked
    read = [parse(text, AMOUNTS) for text in told]
    for sentence, terms in read:
        # What somebody has of other things is beside the point; all else is about the same thing.
        other = sentence.form == "X also has N ITEMS"
        assert "ITEMS" not in terms or (terms["ITEMS"] != given["ITEMS"]) == other, terms
    values, sources = work_out(read)
    one, two = given["X"], given.get("Y", "")
    lines = {name: values[name] for name in needed(sources, {one, two})}
    if form == TOGETHER:
        lines["Together"] = values[one] + values[two]
    elif form == DIFFERENCE:
        lines["Difference"] = values[one] - values[two]
    return Understood(lines, values, Counter([*(sentence.form for sentence, _ in read), form]))


def understand_schedule(told: list[str], order: list[str], asked: str) -> Understood:
    given = pattern(SPAN).fullmatch(asked)
    assert given, asked
    read = [parse(text, SCHEDULE) for text in told]
    values, sources = work_out(read)
    assert sorted(values) == sorted(order)
    breaks = {
        terms["X"]: int(terms["N"])
        for sentence, terms in read
        if sentence.form.startswith("Before")
    }
    day = order[order.index(given["X"]) : order.index(given["Y"]) + 1]
    lines = {name: values[name] for name in needed(sources, set(day))}
    so_far = values[day[0]]
    # A break before the first event would not be within what is asked.
    for event in day[1:]:
        if event in breaks:
            lines[f"until {event}"] = so_far = so_far + breaks[event]
        lines[f"with {event}"] = so_far = so_far + values[event]
    return Understood(lines, values, Counter(sentence.form for sentence, _ in read))


def parse(text: str, sentences: tuple[Sentence, ...]) -> tuple[Sentence, dict[str, str]]:
    """The one form that a statement has, and what stands for the capitals."""
    found = [(one, terms) for one in sentences if (terms := one.read(text)) is not None]
    assert len(found) == 1, (text, found)
    return found[0]


def work_out(
    read: list[tuple[Sentence, dict[str, str]]],
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """All that follows, in the order in which it does, and from whom each of them follows."""
    values: dict[str, int] = {}
    sources: dict[str, list[str]] = {}
    waiting = [(sentence, terms) for sentence, terms in read if sentence.ways]
    while waiting:
        sentence, terms, whom = next(
            (sentence, terms, whom)
            for sentence, terms in waiting
            for whom in sentence.ways
            if unknown(terms, values) == [terms[whom]]
        )
        waiting.remove((sentence, terms))
        name = terms[whom]
        value = sentence.ways[whom]({key: number(key, x, values) for key, x in terms.items()})
        assert value.denominator == 1, (sentence, terms, value)
        values[name] = int(value)
        sources[name] = [terms[key] for key in "XYZ" if key in terms and terms[key] != name]
    return values, sources


def unknown(terms: Mapping[str, str], values: Mapping[str, int]) -> list[str]:
    return [terms[key] for key in "XYZ" if key in terms and terms[key] not in values]


def number(key: str, text: str, values: Mapping[str, int]) -> Fraction:
    """What a part of a sentence amounts to; 0 where it is no number or not known yet."""
    if key in {"FROM", "TO"}:
        hours, minutes = text.split(":")
        return Fraction(60 * int(hours) + int(minutes))
    if key == "FACTOR":
        return FACTORS[text]
    return Fraction(text) if key in {"N", "M"} else Fraction(values.get(text, 0))


def needed(sources: dict[str, list[str]], wanted: set[str]) -> list[str]:
    """Of those that were worked out, in that order, the ones that somebody wanted builds on."""
    wanted = set(wanted)
    for name in reversed(sources):
        if name in wanted:
            wanted.update(sources[name])
    return [name for name in sources if name in wanted]


@cache
def pattern(form: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"[A-Z]+\b", lambda found: TOKENS.get(found[0], found[0]), form))


def digest(said: object) -> str:
    """A fingerprint of something that JSON can hold."""
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
