"""Answers: extracts them from text and groups the equivalent ones."""

from dynasor_graph.answers.actions import ToolCall, as_action, find_calls, is_action
from dynasor_graph.answers.extract import Extraction, extract_answer, probed_answer
from dynasor_graph.answers.group import Grouping
from dynasor_graph.answers.normal import as_number, normalise

__all__ = [
    "Extraction",
    "Grouping",
    "ToolCall",
    "as_action",
    "as_number",
    "extract_answer",
    "find_calls",
    "is_action",
    "normalise",
    "probed_answer",
]
