"""Policies: pure stopping rules over one Progress value, by name, by preset, or from JSON."""

from dynasor_graph.policies.adaptive import (
    Dirichlet,
    Doubling,
    EqualWindow,
    MajorityShare,
    ShortFirst,
    TripleGate,
    VoteEntropy,
    largest_probability,
)
from dynasor_graph.policies.base import RULES, Decision, Policy, Probe, Progress, Rule
from dynasor_graph.policies.combine import AllOf, AnyOf
from dynasor_graph.policies.named import PRESETS, read_policy, summary
from dynasor_graph.policies.probes import HESITATION, ProbeConsistency, hesitates
from dynasor_graph.policies.votes import (
    Beta,
    Certaindex,
    EveryCertaindex,
    Fixed,
    Lossless,
    leader_probability,
)

__all__ = [
    "AllOf",
    "AnyOf",
    "Beta",
    "Certaindex",
    "Decision",
    "Dirichlet",
    "Doubling",
    "EqualWindow",
    "EveryCertaindex",
    "Fixed",
    "HESITATION",
    "Lossless",
    "MajorityShare",
    "PRESETS",
    "Policy",
    "Probe",
    "ProbeConsistency",
    "Progress",
    "RULES",
    "Rule",
    "ShortFirst",
    "TripleGate",
    "VoteEntropy",
    "hesitates",
    "largest_probability",
    "leader_probability",
    "read_policy",
    "summary",
]
