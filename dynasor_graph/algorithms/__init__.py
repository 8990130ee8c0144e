"""Algorithms: one reasoning algorithm a file, each a LangGraph graph over the same executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynasor_graph.algorithms import cot, self_consistency
from dynasor_graph.algorithms.cot import ChainOfThought
from dynasor_graph.algorithms.self_consistency import SelfConsistency
from dynasor_graph.errors import UnknownName
from dynasor_graph.executor import Context

if TYPE_CHECKING:
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["ALGORITHMS", "Algorithm", "ChainOfThought", "SelfConsistency", "find_algorithm"]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A reasoning algorithm.

    Attributes:
        name: What it is called on the command line and in traces.
        summary: One line on what it does.
        settings: Its context: what it may be told for one run.
        graph: The graph, not compiled: `graph.compile(checkpointer=...)` is LangGraph's own.
    """

    name: str
    summary: str
    settings: type[Context]
    graph: StateGraph[Any, Any, Any, Any]

    def compile(self, **options: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The graph, ready to run; `options` are those of LangGraph's `StateGraph.compile`."""
        return self.graph.compile(name=self.name, **options)


ALGORITHMS: dict[str, Algorithm] = {
    "self_consistency": Algorithm(
        "self_consistency",
        "Sample answers until they agree, and return the majority's.",
        SelfConsistency,
        self_consistency.graph,
    ),
    "cot": Algorithm(
        "cot",
        "Think, probe the answer on the way, and stop once it holds.",
        ChainOfThought,
        cot.graph,
    ),
}
"""The built-in algorithms by name; add your own."""


def find_algorithm(name: str | Algorithm) -> Algorithm:
    """The algorithm of that name.

    Raises:
        UnknownName: There is none.
    """
    if isinstance(name, Algorithm):
        return name
    if name not in ALGORITHMS:
        raise UnknownName("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]
