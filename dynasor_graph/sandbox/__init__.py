"""Sandbox: runs untrusted Python programs, shut in and bounded."""

from dynasor_graph.sandbox.pool import Isolation, Protection, Sandbox
from dynasor_graph.sandbox.program import Failure, Limits, Outcome, Output, Program

__all__ = [
    "Failure",
    "Isolation",
    "Limits",
    "Outcome",
    "Output",
    "Program",
    "Protection",
    "Sandbox",
]
