"""Executor: runs one program's rounds under its budget, and latches the verdict."""

from dynasor_graph.executor.accounts import account, open_account
from dynasor_graph.executor.context import Context, resolve
from dynasor_graph.executor.growth import Plan, grow_level, level_graph
from dynasor_graph.executor.judging import Judging, equivalence_of
from dynasor_graph.executor.probing import ProbeRow, Probing, Thought, newest_answer
from dynasor_graph.executor.program import Program, program
from dynasor_graph.executor.rolling import Rolling
from dynasor_graph.executor.search import (
    Judged,
    Search,
    Searching,
    Step,
    Stepper,
    begin_search,
    conclude,
)
from dynasor_graph.executor.simulate import Simulations
from dynasor_graph.executor.state import Branch, Reasoning, begin, decide
from dynasor_graph.executor.stopping import stop_program, stoppable
from dynasor_graph.executor.tally import Tally, elect, outcome
from dynasor_graph.executor.think import think
from dynasor_graph.executor.tree import Node, Tree
from dynasor_graph.executor.uct import Simulation
from dynasor_graph.executor.window import first_decision

__all__ = [
    "Branch",
    "Context",
    "Judged",
    "Judging",
    "Node",
    "Plan",
    "ProbeRow",
    "Probing",
    "Program",
    "Reasoning",
    "Rolling",
    "Search",
    "Searching",
    "Simulation",
    "Simulations",
    "Step",
    "Stepper",
    "Tally",
    "Thought",
    "Tree",
    "account",
    "begin",
    "begin_search",
    "conclude",
    "decide",
    "elect",
    "equivalence_of",
    "first_decision",
    "grow_level",
    "level_graph",
    "newest_answer",
    "open_account",
    "outcome",
    "program",
    "resolve",
    "stop_program",
    "stoppable",
    "think",
]
