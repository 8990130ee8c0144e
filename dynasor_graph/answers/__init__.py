"""Answers: extracts them from text and groups the equivalent ones."""

from dynasor_graph.answers.equivalence import Equivalence, Form, Kind
from dynasor_graph.answers.extract import Extraction, extract_answer, probed_answer
from dynasor_graph.answers.group import Grouping, agrees
from dynasor_graph.answers.kinds import KINDS, Answers, kind_for, read_kind
from dynasor_graph.answers.mathematical import Math
from dynasor_graph.answers.normal import as_number, normalise
from dynasor_graph.answers.textual import Choice, Exact

__all__ = [
    "KINDS",
    "Answers",
    "Choice",
    "Equivalence",
    "Exact",
    "Extraction",
    "Form",
    "Grouping",
    "Kind",
    "Math",
    "agrees",
    "as_number",
    "extract_answer",
    "kind_for",
    "normalise",
    "probed_answer",
    "read_kind",
]
