"""Equality by math-verify, and the process that it runs in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dynasor_graph.answers.equal import _Child, math_equal

# Stands in for math-verify: "first" is true for the first pair that a process is asked.
FAKE = """
import json, signal, sys
for number, line in enumerate(sys.stdin):
    a, b = json.loads(line)
    if a == "hang":
        signal.pause()
    if a == "die":
        sys.exit(3)
    print(json.dumps(a == b or (a == "first" and number == 0)), flush=True)
"""


@pytest.fixture
def child() -> Iterator[_Child]:
    child = _Child([sys.executable, "-c", FAKE], seconds=1.0, start=60.0)
    yield child
    child.close()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("x=3", "3", id="assignment"),
        pytest.param("1/2", "0.5", id="fraction-and-decimal"),
        pytest.param(r"\frac12", "1/2", id="short-fraction"),
        pytest.param(r"1\frac{1}{2}", "3/2", id="mixed-number"),
        pytest.param("x^2+y", "y+x^2", id="sums-commute"),
        pytest.param("2x", "x*2", id="products-commute"),
        pytest.param("(x+1)^2", "x^2+2x+1", id="expanded"),
        pytest.param("sqrt(2)", r"\sqrt{2}", id="spellings-of-a-root"),
        pytest.param("(1,2)", "(1, 2)", id="pairs"),
        pytest.param(r"\{1,2\}", r"\{2,1\}", id="sets-have-no-order"),
        pytest.param("[0,1)", "[0, 1)", id="intervals"),
        pytest.param(
            r"\begin{pmatrix}1\\2\end{pmatrix}",
            r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
            id="columns",
        ),
    ],
)
def test_the_same_mathematical_object_is_equal_in_both_directions(a: str, b: str):
    assert math_equal(a, b)
    assert math_equal(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("x=1", "100", id="percentage-of-1"),
        pytest.param("x=5", "500", id="percentage-of-5"),
        pytest.param("x=0.5", "50", id="percentage-of-a-half"),
        pytest.param("x=12345", "12346", id="close-is-not-equal"),
        pytest.param(r"\frac{1}{23}", r"\frac{12}{3}", id="braces-mean-something"),
        pytest.param(r"1\frac{1}{2}", "11/2", id="mixed-number"),
        pytest.param(r"\frac{1}{2x}", "x/2", id="below-the-line"),
        pytest.param("(1,2)", "(2,1)", id="pairs-have-an-order"),
        pytest.param("[0,1)", "[0,1]", id="half-open"),
        pytest.param("1<x<2", "x=1,2", id="equal-only-with-the-first-as-gold-answer"),
        pytest.param("x+1", "x-1", id="polynomials"),
        pytest.param("", "5", id="nothing-and-something"),
        pytest.param(r"\frac{1}{", "1", id="no-mathematics"),
    ],
)
def test_different_objects_are_different_in_both_directions(a: str, b: str):
    assert not math_equal(a, b)
    assert not math_equal(b, a)


def test_the_child_answers_pair_after_pair(child: _Child):
    verdicts = [child.ask(a, b) for a, b in [("1", "1"), ("1", "2"), ("é\n\u2028", "é\n\u2028")]]
    assert verdicts == [True, False, True]


def test_one_process_serves_all_comparisons(child: _Child):
    assert [child.ask("first", "") for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("end", ["hang", "die"])
def test_a_comparison_that_hangs_or_dies_counts_as_different_and_the_next_one_works(
    child: _Child, end: str
):
    assert child.ask("first", "")
    assert not child.ask(end, end)
    assert child.ask("first", "")  # a new process
    assert not child.ask("first", "")


def test_a_child_that_hangs_from_its_start_is_killed_too():
    child = _Child([sys.executable, "-c", FAKE], seconds=60.0, start=1.0)
    assert not child.ask("hang", "hang")
    child.close()


def test_a_child_that_cannot_run_finds_all_different():
    child = _Child([sys.executable, "-c", "raise SystemExit(1)"])
    assert [child.ask("1", "1") for _ in range(2)] == [False, False]
    child.close()


def test_threads_that_ask_at_once_each_get_their_own_verdict(child: _Child):
    pairs = [(str(i % 5), str(i % 3)) for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(child.ask, *zip(*pairs, strict=True))) == [a == b for a, b in pairs]


def test_the_process_ends_with_the_program_that_started_it():
    code = "from dynasor_graph.answers.equal import math_equal; print(math_equal('x=3', '3'))"
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("True\n", "")
