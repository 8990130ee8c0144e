"""Policies: pure stopping rules over one Progress value, by name, by preset, or from JSON."""

from dynasor_graph.policies.adaptive import (
    BayesFactor,
    Dirichlet,
    Doubling,
    EqualWindow,
    MajorityShare,
    ShortFirst,
    TripleGate,
    VoteEntropy,
    largest_probability,
)
from dynasor_graph.policies.allocation import Even, Length, Pareto, Skyline
from dynasor_graph.policies.base import RULES, Decision, Policy, Probe, Progress, Rule
from dynasor_graph.policies.combine import AllOf, AnyOf
from dynasor_graph.policies.deepconf import DeepConf
from dynasor_graph.policies.expected import AsNeeded, expected_remaining
from dynasor_graph.policies.named import PRESETS, in_short, read_policy, summary
from dynasor_graph.policies.pacing import Pacing
from dynasor_graph.policies.probes import (
    HESITATION,
    ProbeConfidence,
    ProbeConsistency,
    hesitates,
)
from dynasor_graph.policies.value import Value
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
    "AsNeeded",
    "BayesFactor",
    "Beta",
    "Certaindex",
    "Decision",
    "DeepConf",
    "Dirichlet",
    "Doubling",
    "EqualWindow",
    "Even",
    "EveryCertaindex",
    "Fixed",
    "HESITATION",
    "Length",
    "Lossless",
    "MajorityShare",
    "PRESETS",
    "Pacing",
    "Pareto",
    "Policy",
    "Probe",
    "ProbeConfidence",
    "ProbeConsistency",
    "Progress",
    "RULES",
    "Rule",
    "ShortFirst",
    "Skyline",
    "TripleGate",
    "Value",
    "VoteEntropy",
    "expected_remaining",
    "hesitates",
    "in_short",
    "largest_probability",
    "leader_probability",
    "read_policy",
    "summary",
]
