"""Calibration: policies fitted to recorded samples, and how much they may lose, certified."""

from dynasor_graph.calibration.allocation import CURVES, curves, fit_pareto, fit_skyline
from dynasor_graph.calibration.bounds import (
    fixed_sequence,
    loss_p_value,
    questions_needed,
    upper_bound,
)
from dynasor_graph.calibration.certify import (
    SWEEPS,
    Candidate,
    Certificate,
    candidates_of,
    certify,
    losses,
    split,
)
from dynasor_graph.calibration.file import BelongsTo, Bound, PolicyFile, read_policy_file
from dynasor_graph.calibration.fit import fit_value

__all__ = [
    "CURVES",
    "SWEEPS",
    "BelongsTo",
    "Bound",
    "Candidate",
    "Certificate",
    "PolicyFile",
    "candidates_of",
    "certify",
    "curves",
    "fit_pareto",
    "fit_skyline",
    "fit_value",
    "fixed_sequence",
    "loss_p_value",
    "losses",
    "questions_needed",
    "read_policy_file",
    "split",
    "upper_bound",
]
