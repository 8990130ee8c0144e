"""The bundled tutorial model, abacus-7m, and the generator of the questions it was trained on.

`model_path` and `reward_path` give the folders of the two models; `questions` draws a benchmark of
arithmetic word problems of chosen difficulty, and `make` a single one. Only the standard library is
imported here. The recipe that trained the models is in ``models/abacus`` of the source repository.
"""

from __future__ import annotations

from dynasor_graph.abacus.bundled import BUNDLED, model_path, reward_path
from dynasor_graph.abacus.problems import (
    MAX_DIFFICULTY,
    MAX_VALUE,
    PROBE,
    Problem,
    Quantity,
    Question,
    chat,
    derivation,
    direct,
    example,
    make,
    probe,
    questions,
    think,
)

__all__ = [
    "BUNDLED",
    "MAX_DIFFICULTY",
    "MAX_VALUE",
    "PROBE",
    "Problem",
    "Quantity",
    "Question",
    "chat",
    "derivation",
    "direct",
    "example",
    "make",
    "model_path",
    "probe",
    "questions",
    "reward_path",
    "think",
]
