"""The command-line options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

__all__ = [
    "add_checkpoint_options",
    "add_defaulted",
    "count",
    "first_line",
    "positive_float",
    "positive_int",
]


def positive_int(text: str) -> int:
    """Read a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def count(text: str) -> int:
    """Read a whole number from 0 on."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def positive_float(text: str) -> float:
    """Read a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def first_line(text: str | None) -> str:
    """The first line of a docstring, as the description of a command."""
    return (text or "").partition("\n")[0]


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that save and resume an interrupted run."""
    parser.add_argument(
        "--checkpoint-minutes",
        type=positive_float,
        default=2.0,
        help="save a checkpoint this often (default: %(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the --out folder"
    )
    parser.add_argument(
        "--report-seconds",
        type=positive_float,
        default=15.0,
        help="print a progress line this often (default: %(default)s)",
    )


def add_defaulted(
    parser: argparse.ArgumentParser, *rows: tuple[str, Callable[[str], object], object, str]
) -> None:
    """Add options that have a default: name, type, default and help each."""
    for name, kind, default, text in rows:
        parser.add_argument(name, type=kind, default=default, help=f"{text} (default: %(default)s)")
