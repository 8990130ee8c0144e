"""Sandbox: runs untrusted Python programs, shut in and bounded."""

from dynasor_graph.sandbox.harness import written
from dynasor_graph.sandbox.pool import Isolation, Protection, Sandbox
from dynasor_graph.sandbox.script import Failure, Limits, Outcome, Output, Script

__all__ = [
    "Failure",
    "Isolation",
    "Limits",
    "Outcome",
    "Output",
    "Protection",
    "Sandbox",
    "Script",
    "written",
]
