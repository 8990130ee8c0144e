"""Muon, with one Newton-Schulz iteration for all matrices of a shape.

A small model has dozens of small matrices, and an optimiser that visits one after the other spends
its time on starting kernels. Here matrices of equal shape are stacked, so that a step costs a
handful of batched products. Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

__all__ = ["Muon", "Optimizer", "orthogonal"]

_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


class Muon:
    """Momentum whose every update is made orthogonal.

    Args:
        matrices: The parameters, of two dimensions each.
        momentum: How much of the last update is kept, in [0, 1).
        weight_decay: As in AdamW: multiplied by the learning rate.
    """

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for matrix in matrices:
            shapes.setdefault(matrix.shape, []).append(matrix)
        self._groups = list(shapes.values())
        self._momenta = [torch.zeros_like(torch.stack(list(group))) for group in self._groups]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move all matrices by one update, and forget their gradients."""
        for group, kept in zip(self._groups, self._momenta, strict=True):
            gradient = torch.stack([_gradient(matrix) for matrix in group])
            kept.lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp_(kept, self.momentum))
            # The root mean square of the update is that of AdamW (Liu et al. 2025, section 2.2).
            scale = 0.2 * max(update.shape[-2:]) ** 0.5
            torch._foreach_mul_(list(group), 1 - rate * self.weight_decay)
            torch._foreach_add_(
                list(group), list(update.to(kept.dtype).unbind()), alpha=-rate * scale
            )
            for matrix in group:
                matrix.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"momenta": self._momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for kept, saved in zip(self._momenta, state["momenta"], strict=True):
            kept.copy_(saved)


class Optimizer:
    """Muon for the matrices, AdamW for the embedding and the norms."""

    def __init__(self, model: torch.nn.Module) -> None:
        matrices: list[torch.nn.Parameter] = []
        rest: list[torch.nn.Parameter] = []
        for name, parameter in model.named_parameters():
            (matrices if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
        self.muon = Muon(matrices)
        fused = rest[0].device.type == "cuda"
        self.adamw = torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)

    def step(self, rate: float) -> None:
        """Move all parameters by one update, and forget their gradients."""
        self.muon.step(rate)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrices, roughly: all singular values come near 1.

    Args:
        matrices: [count, rows, columns].

    Returns:
        As many, in bfloat16.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _gradient(matrix: torch.nn.Parameter) -> torch.Tensor:
    if matrix.grad is None:
        raise ValueError("a matrix has no gradient: call backward before step")
    return matrix.grad
