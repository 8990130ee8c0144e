"""Answers: extracts them from text and groups the equivalent ones."""

from dynasor_graph.answers.actions import ToolCall, as_action, find_calls, is_action
from dynasor_graph.answers.behaviour import Behaviour
from dynasor_graph.answers.collection import JsonValue, ListOf, SetOf
from dynasor_graph.answers.embedding import Embedding
from dynasor_graph.answers.equivalence import Equivalence, Form, Kind
from dynasor_graph.answers.expression import Calculation, Expression, calculate
from dynasor_graph.answers.extract import Extraction, extract_answer, probed_answer
from dynasor_graph.answers.group import Grouping, agrees
from dynasor_graph.answers.judge import Judge
from dynasor_graph.answers.kinds import KINDS, Answers, kind_for, kind_row, read_kind
from dynasor_graph.answers.mathematical import Math
from dynasor_graph.answers.normal import as_number, normalise
from dynasor_graph.answers.quantity import Number, Quantity
from dynasor_graph.answers.textual import Choice, Exact

__all__ = [
    "KINDS",
    "Answers",
    "Behaviour",
    "Calculation",
    "Choice",
    "Embedding",
    "Equivalence",
    "Exact",
    "Expression",
    "Extraction",
    "Form",
    "Grouping",
    "JsonValue",
    "Judge",
    "Kind",
    "ListOf",
    "Math",
    "Number",
    "Quantity",
    "SetOf",
    "ToolCall",
    "agrees",
    "as_action",
    "as_number",
    "calculate",
    "extract_answer",
    "find_calls",
    "is_action",
    "kind_for",
    "kind_row",
    "normalise",
    "probed_answer",
    "read_kind",
]
