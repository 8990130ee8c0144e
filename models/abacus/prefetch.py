"""Lay out batches while the model learns, so that the GPU never waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import Any

import torch

__all__ = ["Tensors", "prefetch"]

Tensors = tuple[torch.Tensor, torch.Tensor]
"""The ids and the labels of a batch, where the model is."""


def prefetch(
    batches: Generator[Any, None, None], device: torch.device, depth: int = 8
) -> Generator[Tensors, None, None]:
    """The same batches as tensors, a few ahead of time; close it to end the thread that fills it."""
    ready: queue.Queue[Tensors | Exception] = queue.Queue(depth)
    closed = threading.Event()

    def fill() -> None:
        try:
            for arrays in batches:
                ids, labels = (torch.from_numpy(array) for array in arrays)
                pinned = device.type == "cuda"
                ready.put((ids.pin_memory(), labels.pin_memory()) if pinned else (ids, labels))
                if closed.is_set():
                    break
            batches.close()
        except Exception as error:  # noqa: BLE001 - raised again where the batch is wanted
            ready.put(error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            batch = ready.get()
            if isinstance(batch, Exception):
                raise batch
            ids, labels = batch
            yield ids.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    finally:
        closed.set()
        while thread.is_alive():
            while not ready.empty():
                ready.get()
            thread.join(0.01)
