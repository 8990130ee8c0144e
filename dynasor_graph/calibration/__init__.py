"""Calibration: how much accuracy a policy may lose, certified without assumptions on the data."""

from dynasor_graph.calibration.bounds import (
    fixed_sequence,
    loss_p_value,
    questions_needed,
    upper_bound,
)

__all__ = ["fixed_sequence", "loss_p_value", "questions_needed", "upper_bound"]
