"""Answers: extracts them from text and groups the equivalent ones."""

from dynasor_graph.answers.extract import Extraction, extract_answer, probed_answer
from dynasor_graph.answers.group import Grouping
from dynasor_graph.answers.normal import as_number, normalise

__all__ = ["Extraction", "Grouping", "as_number", "extract_answer", "normalise", "probed_answer"]
