r"""Normal form: spellings that differ in nothing but typography become one string."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["as_number", "normalise"]

_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[,;:! ]|\\(?:left|right|quad|qquad|displaystyle)(?![a-zA-Z])|~")
_FRAC = re.compile(r"\\[dtc]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")
_PLAIN = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:/\d+)?")


def normalise(answer: str) -> str:
    r"""One spelling for answers that differ only in typography.

    Removes math delimiters, spacing commands, `\text{}`, thousands separators, currency and
    percent signs (so `50\%` is 50, never 0.5) and a final full stop; writes simple fractions as
    `a/b`; folds case.
    """
    text = answer.strip().strip("$").strip()
    if text.startswith(("\\(", "\\[")) and text.endswith(("\\)", "\\]")):
        text = text[2:-2]
    text = _TEXT.sub(r"\1", text)
    text = _SPACING.sub(" ", text)
    text = text.replace("\\$", "").replace("\\%", "").replace("%", "").replace("$", "")
    text = _FRAC.sub(lambda m: f"{m[1].strip()}/{m[2].strip()}" if _simple(m) else m[0], text)
    text = _THOUSANDS.sub("", text)
    return " ".join(text.split()).rstrip(".").strip().casefold()


def _simple(fraction: re.Match[str]) -> bool:
    """Whether both parts are single numbers or letters, so that `a/b` needs no brackets."""
    return all(re.fullmatch(r"-?\w+", fraction[i].strip()) for i in (1, 2))


def as_number(text: str) -> Fraction | None:
    """The exact value of a plain number or fraction, or None. Takes the normal form."""
    compact = text.replace(" ", "")
    if not _PLAIN.fullmatch(compact):
        return None
    top, _, bottom = compact.partition("/")
    if bottom and int(bottom) == 0:
        return None
    return Fraction(top) / Fraction(bottom or 1)
