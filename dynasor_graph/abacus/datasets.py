"""Datasets: the fixed question sets of the project, drawn by the generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dynasor_graph.abacus.questions import Question, questions
from dynasor_graph.errors import UnknownName

__all__ = ["DATASETS", "Dataset", "dataset"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a question set is drawn by.

    Attributes:
        size: How many questions, of 1 to 16 steps and of all families in equal parts.
        seed: Fixes them.
    """

    size: int
    seed: int


DATASETS: Final[Mapping[str, Dataset]] = MappingProxyType(
    {"abacus-test": Dataset(600, 20261122), "abacus-calibration": Dataset(2000, 20261123)}
)
"""To choose and fit on "abacus-calibration", and to report on "abacus-test": no question is in both."""


def dataset(name: str) -> list[Question]:
    """The questions of a set, always the same.

    Args:
        name: One of `DATASETS`.

    Raises:
        UnknownName: There is no such set.
    """
    if name not in DATASETS:
        raise UnknownName("data set", name, DATASETS)
    found = DATASETS[name]
    return questions(found.size, seed=found.seed)
