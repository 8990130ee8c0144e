"""The normal form: typography goes, meaning stays."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.answers import as_number, normalise


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        pytest.param(" 42 ", "42", id="spaces"),
        pytest.param("$42$", "42", id="math-dollars"),
        pytest.param("$$42$$", "42", id="display-dollars"),
        pytest.param(r"\(42\)", "42", id="math-brackets"),
        pytest.param(r"\[ 42 \]", "42", id="display-brackets"),
        pytest.param("42.", "42", id="full-stop"),
        pytest.param(r"\$42", "42", id="currency"),
        pytest.param(r"42\$", "42", id="currency-behind"),
        pytest.param(r"50\%", "50", id="percent-is-only-a-sign"),
        pytest.param("50%", "50", id="bare-percent"),
        pytest.param("1,234,567", "1234567", id="thousands"),
        pytest.param("1,234.5", "1234.5", id="thousands-and-decimals"),
        pytest.param(r"10\,000", "10000", id="thin-space"),
        pytest.param("1{,}000", "1000", id="latex-comma"),
        pytest.param("(1,200)", "(1,200)", id="a-pair-keeps-its-comma"),
        pytest.param(r"\{100,200\}", r"\{100,200\}", id="so-does-a-set"),
        pytest.param("1,100,2,2", "1,100,2,2", id="and-a-list"),
        pytest.param(r"\frac{1}{2}", "1/2", id="fraction"),
        pytest.param(r"-\dfrac{ 3 }{4}", "-3/4", id="signed-display-fraction"),
        pytest.param(r"\frac{1}{23}", "1/23", id="1-over-23"),
        pytest.param(r"\frac{12}{3}", "12/3", id="12-over-3"),
        pytest.param(r"1\frac{1}{2}", r"1\frac{1}{2}", id="a-mixed-number-is-not-11/2"),
        pytest.param(r"\frac{1}{2x}", r"\frac{1}{2x}", id="2x-would-need-brackets"),
        pytest.param(r"\text{Monday}", "monday", id="text"),
        pytest.param("Monday", "monday", id="case"),
        pytest.param("(B)", "b", id="a-choice"),
        pytest.param("(ab)", "(ab)", id="a-product"),
        pytest.param("grand", "grand", id="grand-stays-a-word"),
        pytest.param(r"\left(1,\, 2\right)", "(1, 2 )", id="spacing-commands"),
        pytest.param(r"1 \\ 2", r"1 \\ 2", id="rows-of-a-matrix"),
        pytest.param(r"\rightarrow", r"\rightarrow", id="right-is-not-rightarrow"),
        pytest.param("", "", id="empty"),
        pytest.param(r"$\text{ }$.", "", id="nothing-but-typography"),
    ],
)
def test_normalise_removes_typography_and_nothing_else(answer: str, form: str):
    assert normalise(answer) == form


@pytest.mark.parametrize(
    ("form", "value"),
    [
        pytest.param("42", Fraction(42), id="integer"),
        pytest.param("-7", Fraction(-7), id="negative"),
        pytest.param("+ 7", Fraction(7), id="sign-apart"),
        pytest.param("0.5", Fraction(1, 2), id="decimal"),
        pytest.param(".5", Fraction(1, 2), id="no-leading-zero"),
        pytest.param("5.", Fraction(5), id="no-decimals"),
        pytest.param("2/4", Fraction(1, 2), id="fraction"),
        pytest.param("1 / 2", Fraction(1, 2), id="fraction-with-spaces"),
        pytest.param("0.1", Fraction(1, 10), id="exact-not-binary"),
        pytest.param("1/0", None, id="nothing-divides-by-zero"),
        pytest.param("1 1/2", None, id="mixed-number"),
        pytest.param("1 2", None, id="two-numbers"),
        pytest.param("1,2", None, id="a-list"),
        pytest.param("x", None, id="letter"),
        pytest.param("3 apples", None, id="unit"),
        pytest.param("-", None, id="a-sign-alone"),
        pytest.param("", None, id="empty"),
        pytest.param("9" * 5000, None, id="too-long-for-python"),
        pytest.param("0." + "3" * 5000, None, id="too-many-decimals"),
    ],
)
def test_as_number_reads_plain_numbers_exactly_and_nothing_else(form: str, value: Fraction | None):
    assert as_number(form) == value


@given(st.integers())
def test_an_integer_is_read_as_itself_with_and_without_separators(value: int):
    assert as_number(normalise(f"{value}")) == value
    assert as_number(normalise(f"{value:,}")) == value
    assert as_number(normalise(f"${value}$.")) == value


@given(st.integers(-10_000, 10_000), st.integers(1, 10_000))
def test_a_fraction_is_read_as_itself_in_both_spellings(top: int, bottom: int):
    exact = Fraction(top, bottom)
    sign = "-" if top < 0 else ""
    assert as_number(normalise(f"{top}/{bottom}")) == exact
    assert as_number(normalise(f"{sign}\\frac{{{abs(top)}}}{{{bottom}}}")) == exact


@given(st.text())
def test_any_text_has_a_normal_form_and_a_number_or_none(text: str):
    form = normalise(text)
    assert form == " ".join(form.split())
    value = as_number(form)
    assert value is None or isinstance(value, Fraction)
