"""Arrivals: when programs come: at random, in bursts, or as they were recorded."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np

from dynasor_graph.errors import InputError

__all__ = ["arrivals"]

_BURST = 3.0
"""Coefficient of variation of the gaps in bursty arrivals; at random it is 1."""


def arrivals(kind: str, rate: float, count: int, seed: int) -> list[float]:
    """Seconds at which programs come.

    Args:
        kind: "poisson", "bursty" (gamma-distributed gaps), or a file of seconds, one a line, which are
            stretched to the rate and repeated as often as needed.
        rate: Programs a second, > 0.
        count: How many.
        seed: Of what is drawn.

    Raises:
        InputError: The file does not hold at least two growing numbers.
    """
    rng = np.random.default_rng(seed)
    if kind == "poisson":
        gaps = rng.exponential(1 / rate, count)
    elif kind == "bursty":
        shape = 1 / _BURST**2
        gaps = rng.gamma(shape, 1 / (rate * shape), count)
    else:
        gaps = _recorded(Path(kind), rate, count)
    return list(accumulate(gaps.tolist()))


def _recorded(path: Path, rate: float, count: int) -> np.ndarray:
    try:
        times = np.array([float(line) for line in path.read_text().split()])
    except (OSError, ValueError) as error:
        raise InputError(f"arrivals: {path}: a file of seconds, one a line: {error}") from None
    gaps = np.diff(times)
    if len(gaps) < 1 or gaps.min() < 0 or gaps.max() == 0:
        raise InputError(f"arrivals: {path}: needs at least two seconds that grow")
    gaps = np.resize(gaps, count)
    return np.asarray(gaps / (gaps.mean() * rate))
