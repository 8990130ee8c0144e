"""dynasor_graph: LLM reasoning programs that stop when the answer has settled.

A LangGraph runtime for reasoning algorithms on your own vLLM engine, after "Efficiently Serving LLM
Reasoning Programs with Certaindex" (Dynasor, arXiv 2412.20993).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynasor_graph.algorithms import (
        ALGORITHMS,
        MCTS,
        Algorithm,
        Beam,
        BestOfN,
        ChainOfThought,
        DiverseTrees,
        ParticleFilter,
        Rebase,
        SelfConsistency,
        find_algorithm,
    )
    from dynasor_graph.answers import (
        Embedding,
        Equivalence,
        Expression,
        Grouping,
        Judge,
        Kind,
        agrees,
        calculate,
        extract_answer,
        read_kind,
    )
    from dynasor_graph.budget import Budget, Ledger, Usage
    from dynasor_graph.certaindex import (
        entropy_certaindex,
        is_certain,
        probe_certaindex,
        reward_certaindex,
    )
    from dynasor_graph.chat_model import ChatDynasor
    from dynasor_graph.engine import Engine, FakeEngine, complete, open_engine, register
    from dynasor_graph.errors import ConfigError, DynasorError, EngineError, InputError, RewardError
    from dynasor_graph.executor import (
        Branch,
        Context,
        Judged,
        Node,
        Program,
        Reasoning,
        Rolling,
        Search,
        Searching,
        Step,
        Stepper,
        Tally,
        Tree,
        begin,
        begin_search,
        conclude,
        decide,
        elect,
        first_decision,
        grow_level,
        program,
        resolve,
        stop_program,
    )
    from dynasor_graph.policies import (
        PRESETS,
        AllOf,
        AnyOf,
        Beta,
        Certaindex,
        Decision,
        EveryCertaindex,
        Fixed,
        Lossless,
        Policy,
        ProbeConsistency,
        Progress,
        Rule,
        read_policy,
    )
    from dynasor_graph.questions import Question, read_questions
    from dynasor_graph.results import Result
    from dynasor_graph.reward import (
        FunctionReward,
        Partial,
        Reward,
        Score,
        open_reward,
        register_reward,
    )
    from dynasor_graph.runner import Runner, solve, stream
    from dynasor_graph.telemetry import disable_telemetry, enable_telemetry
    from dynasor_graph.trace import TraceWriter, read_trace
    from dynasor_graph.types import Completion, Delta, Load, Request, Sampling, StopReason

_HOME = {
    "algorithms": (
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
    ),
    "answers": (
        "Embedding",
        "Equivalence",
        "Expression",
        "Grouping",
        "Judge",
        "Kind",
        "agrees",
        "calculate",
        "extract_answer",
        "read_kind",
    ),
    "budget": (
        "Budget",
        "Ledger",
        "Usage",
    ),
    "certaindex": (
        "entropy_certaindex",
        "is_certain",
        "probe_certaindex",
        "reward_certaindex",
    ),
    "chat_model": ("ChatDynasor",),
    "engine": (
        "Engine",
        "FakeEngine",
        "complete",
        "open_engine",
        "register",
    ),
    "errors": (
        "ConfigError",
        "DynasorError",
        "EngineError",
        "InputError",
        "RewardError",
    ),
    "executor": (
        "Branch",
        "Context",
        "Judged",
        "Node",
        "Program",
        "Reasoning",
        "Rolling",
        "Search",
        "Searching",
        "Step",
        "Stepper",
        "Tally",
        "Tree",
        "begin",
        "begin_search",
        "conclude",
        "decide",
        "elect",
        "first_decision",
        "grow_level",
        "program",
        "resolve",
        "stop_program",
    ),
    "policies": (
        "AllOf",
        "AnyOf",
        "Beta",
        "Certaindex",
        "Decision",
        "EveryCertaindex",
        "Fixed",
        "Lossless",
        "PRESETS",
        "Policy",
        "ProbeConsistency",
        "Progress",
        "Rule",
        "read_policy",
    ),
    "questions": (
        "Question",
        "read_questions",
    ),
    "results": ("Result",),
    "reward": (
        "FunctionReward",
        "Partial",
        "Reward",
        "Score",
        "open_reward",
        "register_reward",
    ),
    "runner": (
        "Runner",
        "solve",
        "stream",
    ),
    "telemetry": (
        "disable_telemetry",
        "enable_telemetry",
    ),
    "trace": (
        "TraceWriter",
        "read_trace",
    ),
    "types": (
        "Completion",
        "Delta",
        "Load",
        "Request",
        "Sampling",
        "StopReason",
    ),
}
"""Module -> the public names in it. They are imported at their first use: langgraph and scipy take
a second, and `import dynasor_graph` should not."""

__version__ = "0.1.0"
__all__ = [  # spelled out, because type checkers cannot run the sum of _HOME
    "ALGORITHMS",
    "Algorithm",
    "AllOf",
    "AnyOf",
    "Beam",
    "BestOfN",
    "Beta",
    "Branch",
    "Budget",
    "Certaindex",
    "ChainOfThought",
    "ChatDynasor",
    "Completion",
    "ConfigError",
    "Context",
    "Decision",
    "Delta",
    "DiverseTrees",
    "DynasorError",
    "Embedding",
    "Engine",
    "EngineError",
    "Equivalence",
    "EveryCertaindex",
    "Expression",
    "FakeEngine",
    "Fixed",
    "FunctionReward",
    "Grouping",
    "InputError",
    "Judge",
    "Judged",
    "Kind",
    "Ledger",
    "Load",
    "Lossless",
    "MCTS",
    "Node",
    "PRESETS",
    "Partial",
    "ParticleFilter",
    "Policy",
    "ProbeConsistency",
    "Program",
    "Progress",
    "Question",
    "Reasoning",
    "Rebase",
    "Request",
    "Result",
    "Reward",
    "RewardError",
    "Rolling",
    "Rule",
    "Runner",
    "Sampling",
    "Score",
    "Search",
    "Searching",
    "SelfConsistency",
    "Step",
    "Stepper",
    "StopReason",
    "Tally",
    "TraceWriter",
    "Tree",
    "Usage",
    "agrees",
    "begin",
    "begin_search",
    "calculate",
    "complete",
    "conclude",
    "decide",
    "disable_telemetry",
    "elect",
    "enable_telemetry",
    "entropy_certaindex",
    "extract_answer",
    "find_algorithm",
    "first_decision",
    "grow_level",
    "is_certain",
    "open_engine",
    "open_reward",
    "probe_certaindex",
    "program",
    "read_kind",
    "read_policy",
    "read_questions",
    "read_trace",
    "register",
    "register_reward",
    "resolve",
    "reward_certaindex",
    "solve",
    "stop_program",
    "stream",
]

_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'dynasor_graph' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dynasor_graph.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
