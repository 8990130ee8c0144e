r"""Normal form: spellings that differ in nothing but typography become one string."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

__all__ = ["as_number", "normalise"]

_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}")
# A second backslash is no part of it: `\\` ends a row of a matrix.
_SPACING = re.compile(r"(?<!\\)\\[,;:! ]|\\(?:left|right|quad|qquad|displaystyle)(?![a-zA-Z])|~")
_FRAC = re.compile(r"([-+]?) ?\\[dtc]?frac\s*\{\s*(\d+|[a-zA-Z])\s*\}\s*\{\s*(\d+|[a-zA-Z])\s*\}")
_THOUSANDS = re.compile(r"(?<![\w.,])\d{1,3}(?:(?:,|\{,\}| )\d{3})+(?![\w,])")
_PLAIN = re.compile(r"([-+]?) ?(\d+(?:\.\d*)?|\.\d+)(?: ?/ ?(\d+))?")
_LONGEST = 1000  # characters; Python refuses to read integers of more than 4300 digits


@lru_cache(maxsize=4096)  # a branch's answer is asked for thrice, and many give the same
def normalise(answer: str) -> str:
    r"""One spelling for answers that differ only in typography.

    Removes math delimiters, spacing commands, `\text{}`, thousands separators, currency and
    percent signs (so `50\%` is 50, never 0.5) and a final full stop; writes an answer that is one
    simple fraction as `a/b` and the choice `(A)` as `a`; folds case, as math-verify does.
    """
    text = answer.replace("\\$", "").strip().strip("$").strip()
    if text.startswith(("\\(", "\\[")) and text.endswith(("\\)", "\\]")):
        text = text[2:-2]
    text = _TEXT.sub(r"\1", text)
    text = _SPACING.sub(" ", text)
    text = text.replace("\\%", "").replace("%", "").replace("$", "")
    text = " ".join(text.split()).rstrip(".").strip()
    if fraction := _FRAC.fullmatch(text):  # as a part of something, `a/b` would need brackets
        text = f"{fraction[1]}{fraction[2]}/{fraction[3]}"
    if not any(bracket in text for bracket in ("(", "[", r"\{")):  # `(1,200)` is a pair
        text = _THOUSANDS.sub(lambda number: re.sub(r"\D", "", number[0]), text)
    if re.fullmatch(r"\([a-zA-Z]\)", text):
        text = text[1]  # a choice
    return text.casefold()


def as_number(text: str) -> Fraction | None:
    """The exact value of a plain number or fraction, or None. Takes the normal form."""
    plain = _PLAIN.fullmatch(text)
    if plain is None or len(text) > _LONGEST:
        return None
    sign, top, bottom = plain.groups()
    if bottom and int(bottom) == 0:
        return None
    return Fraction(sign + top) / Fraction(bottom or 1)
