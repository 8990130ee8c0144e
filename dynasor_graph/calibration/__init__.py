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
from dynasor_graph.calibration.pairs import Pair, Rate, Separation, read_pairs, separate

__all__ = [
    "CURVES",
    "SWEEPS",
    "BelongsTo",
    "Bound",
    "Candidate",
    "Certificate",
    "Pair",
    "PolicyFile",
    "Rate",
    "Separation",
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
    "read_pairs",
    "read_policy_file",
    "separate",
    "split",
    "upper_bound",
]
