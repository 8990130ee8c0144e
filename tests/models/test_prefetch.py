"""Batches that are laid out ahead of time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.abacus.prefetch import prefetch  # noqa: E402

CPU = torch.device("cpu")


def endless(ended: threading.Event) -> Generator[Any, None, None]:
    try:
        number = 0
        while True:
            yield np.full((1, 2), number), np.zeros((1, 2))
            number += 1
    finally:
        ended.set()


def test_batches_come_in_order_and_closing_ends_what_makes_them():
    ended = threading.Event()
    batches = prefetch(endless(ended), CPU)

    assert [int(next(batches)[0][0, 0]) for _ in range(20)] == list(range(20))
    assert not ended.is_set()
    batches.close()

    assert ended.is_set()


def test_an_error_while_batches_are_made_ends_the_training():
    def broken() -> Generator[Any, None, None]:
        yield tuple(torch.zeros(1, 2, dtype=torch.long).numpy() for _ in range(2))
        raise OSError("the disk is gone")

    batches = prefetch(broken(), CPU)

    assert next(batches)[0].shape == (1, 2)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
