"""Which answer a text ends with."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.answers import Extraction, extract_answer, probed_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param(r"so \boxed{42}", "42", id="boxed"),
        pytest.param(r"first \boxed{1}, no: \boxed{2}", "2", id="the-last-box-counts"),
        pytest.param(r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", id="balanced-braces"),
        pytest.param(r"\boxed{\boxed{5}}", "5", id="box-in-a-box"),
        pytest.param(r"\boxed{\{1, 2\}}", r"\{1, 2\}", id="escaped-braces-are-text"),
        pytest.param(r"\boxed {7} and \fbox{8}", "8", id="space-and-fbox"),
        pytest.param(r"\boxed{3} then \boxed{ }", "3", id="an-empty-box-is-passed-over"),
        pytest.param(r"\boxed{3} then \boxed{\text{}}", "3", id="so-is-one-with-empty-text"),
        pytest.param(r"\boxed{3} then \boxed{4", "3", id="so-is-one-that-never-closes"),
        pytest.param(r"\boxed{9} The answer is 8.", "9", id="a-box-before-a-phrase"),
        pytest.param("The answer is 5.", "5", id="phrase"),
        pytest.param("Final Answer: **12**", "12", id="markdown"),
        pytest.param("ANSWER = $x + 1$", "x + 1", id="math-delimiters"),
        pytest.param("The answer is:\n  3.25 apples. Good.", "3.25 apples", id="over-a-line-break"),
        pytest.param("The answer is \\boxed{6}.", "6", id="a-box-in-a-phrase"),
        pytest.param(
            "The answer is 5. Wait, the answer is 6.", "6", id="the-last-phrase-of-a-line-counts"
        ),
        pytest.param(
            "The answer is 5.\nSo the answer is", "5", id="a-phrase-with-nothing-after-it"
        ),
        pytest.param("The answer is grand.", "grand", id="grand-stays-a-word"),
        pytest.param("the answer isn't clear, but 4 is close", "4", id="isnt-is-not-is"),
        pytest.param("3 apples and 4 pears make 7", "7", id="the-last-number"),
        pytest.param("that is 1,234.50 in all", "1,234.50", id="thousands"),
        pytest.param("it went down to -3/4", "-3/4", id="sign-and-fraction"),
        pytest.param("10-3", "3", id="a-dash-between-numbers-is-no-sign"),
        pytest.param("6, and it weighs 2.5kg", "6", id="a-part-of-a-word-is-no-number"),
        pytest.param("no idea", None, id="nothing"),
        pytest.param("", None, id="empty"),
    ],
)
def test_auto_takes_the_last_box_then_the_last_phrase_then_the_last_number(
    text: str, answer: str | None
):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("3 apples and 4 pears make 7", None, id="a-number-on-the-way"),
        pytest.param(r"so \boxed{42} but 7", "42", id="a-box"),
        pytest.param("The answer is 5. Let us check: 7", "5", id="a-phrase"),
    ],
)
def test_a_text_that_was_cut_gives_no_bare_number(text: str, answer: str | None):
    assert extract_answer(text, finished=False) == answer


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        pytest.param("boxed", "1", id="boxed"),
        pytest.param("phrase", "2", id="phrase"),
        pytest.param("number", "3", id="number"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_kind_looks_in_one_place_only(kind: Extraction, answer: str, finished: bool):
    text = r"\boxed{1}. The answer is 2. All of 3"
    assert extract_answer(text, kind, finished=finished) == answer
    assert extract_answer("nothing here", kind, finished=finished) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param(r"\boxed{1}</think>The answer is 2.", "2", id="a-phrase-beats-an-earlier-box"),
        pytest.param(r"\boxed{1}</think>It is 3", "3", id="even-a-number-does"),
        pytest.param(r"\boxed{1}</think>Done.", "1", id="nothing-after-it"),
        pytest.param(r"a</think>\boxed{1}</think>\boxed{2}", "2", id="closed-twice"),
        pytest.param(r"<think>\boxed{1}", "1", id="never-closed"),
    ],
)
def test_what_follows_the_thinking_counts_first(text: str, answer: str):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        pytest.param("42}", "42", id="closed"),
        pytest.param(r"\frac{1}{2}} \]", r"\frac{1}{2}", id="balanced"),
        pytest.param(r"\{1\}} and {2}}", r"\{1\}", id="escaped"),
        pytest.param(" 7 } wait", "7", id="spaces"),
        pytest.param("42", None, id="never-closes"),
        pytest.param("{42}", None, id="closes-only-its-own"),
        pytest.param("}", None, id="nothing-in-it"),
        pytest.param("  }", None, id="blank"),
        pytest.param(r"\text{}}", None, id="empty-text"),
        pytest.param("$$}", None, id="empty-math"),
        pytest.param("", None, id="no-response"),
    ],
)
def test_a_probe_answers_up_to_the_brace_that_closes_its_box(response: str, answer: str | None):
    assert probed_answer(response) == answer


words = st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=1, max_size=8)
nested = st.recursive(
    words, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda x: f"{{{''.join(x)}}}")
)


@given(before=words, answer=nested, after=words)
def test_any_balanced_answer_comes_out_of_its_box_whole(before: str, answer: str, after: str):
    assert extract_answer(f"{before} \\boxed{{{answer}}} {after}") == answer
    assert probed_answer(answer + "} " + after) == answer


@given(st.text(), st.sampled_from(["auto", "boxed", "phrase", "number"]), st.booleans())
def test_any_text_gives_an_answer_that_stands_in_it_or_none(
    text: str, kind: Extraction, finished: bool
):
    answer = extract_answer(text, kind, finished=finished)
    assert answer is None or (answer.strip() and answer in text)
