"""The device that training and measuring run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["compile_layers", "compiled", "pick_device"]


def pick_device(slow: str) -> torch.device:
    """The GPU if there is one.

    Args:
        slow: What to tell the user about the time it takes without one.

    Returns:
        The device.
    """
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        device = torch.device("cuda")
        print(f"device: {torch.cuda.get_device_name(device)}", flush=True)
        return device
    print(f"device: CPU, {torch.get_num_threads()} threads. No GPU found: {slow}", flush=True)
    return torch.device("cpu")


def compiled(function: Callable[..., torch.Tensor], device: torch.device) -> Any:
    """The function, compiled where that pays: on a GPU."""
    return torch.compile(function, dynamic=False) if device.type == "cuda" else function


def compile_layers(layers: torch.nn.Module, device: torch.device) -> None:
    """Compile each layer of a model in place, on a GPU only: on a CPU it costs more than it gives.

    Args:
        layers: The container of the layers.
        device: Where the model runs.
    """
    if device.type != "cuda":
        return
    # One compiled form for every length of batch and every layer; the default limit is lower.
    torch._dynamo.config.recompile_limit = 64
    for layer in layers.children():
        layer.compile(dynamic=False)
