"""Executor: runs one program's rounds under its budget, and latches the verdict."""

from dynasor_graph.executor.accounts import account, open_account
from dynasor_graph.executor.context import Context, resolve
from dynasor_graph.executor.program import Program, program
from dynasor_graph.executor.state import Branch, Reasoning, begin, decide
from dynasor_graph.executor.tally import Tally
from dynasor_graph.executor.think import ProbeRow, Probing, Thought, think

__all__ = [
    "Branch",
    "Context",
    "ProbeRow",
    "Probing",
    "Program",
    "Reasoning",
    "Tally",
    "Thought",
    "account",
    "begin",
    "decide",
    "open_account",
    "program",
    "resolve",
    "think",
]
