"""The bundled tutorial model, abacus-7m, and the generator of the questions it was trained on.

`model_path` and `reward_path` give the folders of the two models; `questions` draws a benchmark of
arithmetic word problems of chosen length, and `make` a single one. `dataset` gives the fixed sets,
and `recording_path` the samples that were recorded on them. Only the standard library is imported
here. The recipe that trained the models is in ``models/abacus`` of the source repository.
"""

from __future__ import annotations

from dynasor_graph.abacus.bundled import (
    BUNDLED,
    RECORDED,
    model_path,
    recording_path,
    reward_path,
)
from dynasor_graph.abacus.chat import PROBE, chat
from dynasor_graph.abacus.datasets import DATASETS, Dataset, dataset
from dynasor_graph.abacus.problem import MAX_VALUE, Problem, Step
from dynasor_graph.abacus.questions import FAMILIES, MAX_STEPS, Question, make, questions

__all__ = [
    "BUNDLED",
    "DATASETS",
    "FAMILIES",
    "MAX_STEPS",
    "MAX_VALUE",
    "PROBE",
    "Dataset",
    "RECORDED",
    "Problem",
    "Question",
    "Step",
    "chat",
    "dataset",
    "make",
    "model_path",
    "questions",
    "recording_path",
    "reward_path",
]
