"""Algorithms: one reasoning algorithm a file, each a LangGraph graph over the same executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynasor_graph.algorithms import (
    beam,
    best_of_n,
    cot,
    dvts,
    mcts,
    particle_filter,
    rebase,
    self_consistency,
)
from dynasor_graph.algorithms.beam import Beam
from dynasor_graph.algorithms.best_of_n import BestOfN
from dynasor_graph.algorithms.cot import ChainOfThought
from dynasor_graph.algorithms.dvts import DiverseTrees
from dynasor_graph.algorithms.mcts import MCTS
from dynasor_graph.algorithms.particle_filter import ParticleFilter
from dynasor_graph.algorithms.rebase import Rebase
from dynasor_graph.algorithms.self_consistency import SelfConsistency
from dynasor_graph.errors import UnknownName
from dynasor_graph.executor import Context

if TYPE_CHECKING:
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Beam",
    "BestOfN",
    "ChainOfThought",
    "DiverseTrees",
    "MCTS",
    "ParticleFilter",
    "Rebase",
    "SelfConsistency",
    "find_algorithm",
]


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


def _of(name: str, summary: str, settings: type[Context], module: Any) -> Algorithm:
    return Algorithm(name, summary, settings, module.graph)


_BUILT_IN = (
    _of(
        "self_consistency",
        "Sample answers until they agree, and return the majority's.",
        SelfConsistency,
        self_consistency,
    ),
    _of("cot", "Think, probe the answer on the way, and stop once it holds.", ChainOfThought, cot),
    _of("best_of_n", "Sample answers, judge each, and return the best.", BestOfN, best_of_n),
    _of("rebase", "Grow a tree, the best steps the most children; weighted vote.", Rebase, rebase),
    _of("mcts", "Simulate where rewards are high or unknown; return the best.", MCTS, mcts),
    _of("beam", "Keep the best few steps, and let each have children.", Beam, beam),
    _of("dvts", "Many narrow trees, each going on from its best step.", DiverseTrees, dvts),
    _of(
        "particle_filter",
        "Resample partial solutions by the odds of their rewards.",
        ParticleFilter,
        particle_filter,
    ),
)

ALGORITHMS: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in _BUILT_IN}
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
