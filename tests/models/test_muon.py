"""Muon: batched, and yet what one matrix after the other would give."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from models.abacus.muon import Muon, Optimizer, orthogonal  # noqa: E402

SHAPES = ((8, 8), (12, 5), (12, 5), (5, 12), (8, 8), (1, 6))
ROUNDING = 0.05
"""Products of bfloat16 differ from machine to machine, by less than this share."""


def matrices(seed: int = 0, shapes: Sequence[tuple[int, int]] = SHAPES) -> list[Any]:
    """Parameters with gradients."""
    draw = torch.Generator().manual_seed(seed)
    made = [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in shapes]
    for one in made:
        one.grad = torch.randn(one.shape, generator=draw)
    return made


def give_gradients(made: Sequence[Any], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for one in made:
        one.grad = torch.randn(one.shape, generator=draw)


def plain_orthogonal(matrix: Any) -> Any:
    """Five steps of the quintic iteration on one matrix, in the precision of the real one."""
    x = matrix.bfloat16()
    if matrix.shape[0] > matrix.shape[1]:
        return plain_orthogonal(matrix.T).T
    x = x / x.norm()
    for _ in range(5):
        square = x @ x.T
        # 3.4445 x - 4.7750 (x x') x + 2.0315 (x x')^2 x, rounded as seldom as in the real one.
        cubed = torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315)
        x = torch.addmm(x, cubed, x, beta=3.4445)
    return x


def difference(one: Any, other: Any) -> float:
    """How far apart two matrices are, compared to the size of the second."""
    return float((one - other).norm() / other.norm())


def plain_step(
    matrix: Any, gradient: Any, kept: Any, *, rate: float, momentum: float, decay: float
) -> tuple[Any, Any]:
    """The matrix and its momentum after one step, by the book."""
    kept = momentum * kept + (1 - momentum) * gradient
    ahead = momentum * kept + (1 - momentum) * gradient
    update = 0.2 * max(matrix.shape) ** 0.5 * plain_orthogonal(ahead).float()
    return matrix * (1 - rate * decay) - rate * update, kept


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((16, 16), id="square"),
        pytest.param((48, 12), id="tall"),
        pytest.param((12, 48), id="wide"),
        pytest.param((2, 64), id="very-wide"),
        pytest.param((64, 1), id="one-column"),
    ],
)
def test_orthogonal_keeps_directions_and_makes_all_lengths_nearly_one(shape: tuple[int, int]):
    rank = min(shape)
    draw = torch.Generator().manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn((3, *shape), generator=draw), full_matrices=False)
    lengths = torch.linspace(0.2, 5.0, rank)

    made = orthogonal(left @ torch.diag(lengths) @ right).float()

    assert made.shape == (3, *shape)
    assert torch.linalg.svdvals(made).min() > 0.6
    assert torch.linalg.svdvals(made).max() < 1.3
    across = left.mT @ made @ right.mT
    diagonal = torch.diagonal(across, dim1=1, dim2=2)
    assert diagonal.min() > 0.6
    assert (across - torch.diag_embed(diagonal)).abs().max() < 0.1


def test_orthogonal_does_not_mix_the_matrices_of_a_batch():
    draw = torch.Generator().manual_seed(2)
    batch = torch.randn((4, 6, 10), generator=draw)

    made = orthogonal(batch)

    for one, alone in zip(made, batch, strict=True):
        assert difference(one, plain_orthogonal(alone)) < ROUNDING


def test_orthogonal_leaves_nothing_as_nothing():
    assert not orthogonal(torch.zeros(2, 3, 4)).any()


@pytest.mark.parametrize(
    ("momentum", "decay"),
    [
        pytest.param(0.95, 0.05, id="defaults"),
        pytest.param(0.0, 0.0, id="neither"),
        pytest.param(0.5, 2.0, id="much-decay"),
    ],
)
def test_steps_are_those_of_one_matrix_after_the_other(momentum: float, decay: float):
    rate = 0.02
    made = matrices()
    muon = Muon(made, momentum=momentum, weight_decay=decay)
    before = [one.detach().clone() for one in made]
    expected = [(one, torch.zeros_like(one)) for one in before]

    for seed in range(3):
        give_gradients(made, seed)
        expected = [
            plain_step(matrix, one.grad, kept, rate=rate, momentum=momentum, decay=decay)
            for one, (matrix, kept) in zip(made, expected, strict=True)
        ]
        muon.step(rate)

    for one, old, (matrix, _) in zip(made, before, expected, strict=True):
        assert difference(one.detach() - old, matrix - old) < ROUNDING


def test_a_step_moves_every_matrix_and_forgets_its_gradient():
    made = matrices()
    before = [one.detach().clone() for one in made]

    Muon(made).step(0.1)

    assert all(one.grad is None for one in made)
    assert not any(torch.equal(one, old) for one, old in zip(made, before, strict=True))


def test_a_step_leaves_the_gradients_themselves_alone():
    made = matrices()
    gradients = [one.grad for one in made]
    before = [gradient.clone() for gradient in gradients]

    Muon(made).step(0.1)

    assert all(torch.equal(*pair) for pair in zip(gradients, before, strict=True))


def test_a_matrix_without_gradient_is_refused():
    made = matrices()
    made[2].grad = None

    with pytest.raises(ValueError, match="no gradient: call backward before step"):
        Muon(made).step(0.1)


def test_a_saved_state_goes_on_as_if_nothing_had_happened():
    made = matrices()
    muon = Muon(made)
    muon.step(0.1)
    file = io.BytesIO()
    torch.save(muon.state_dict(), file)
    file.seek(0)
    resumed, forgetful = (
        [torch.nn.Parameter(one.detach().clone()) for one in made] for _ in range(2)
    )
    other = Muon(resumed)
    other.load_state_dict(torch.load(file, weights_only=True))

    for optimizer, parameters in ((muon, made), (other, resumed), (Muon(forgetful), forgetful)):
        give_gradients(parameters, 5)
        optimizer.step(0.1)

    assert all(torch.equal(*pair) for pair in zip(made, resumed, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(made, forgetful, strict=True))


def test_a_state_for_other_matrices_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        Muon(matrices()).load_state_dict(Muon(matrices(shapes=[(8, 8)])).state_dict())


# Muon and AdamW together --------------------------------------------------------------------------


class Small(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A model with one parameter of each kind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed_tokens = torch.nn.Embedding(7, 4)
        self.norm = torch.nn.LayerNorm(4)
        self.linear = torch.nn.Linear(4, 7, bias=False)

    def backward(self) -> None:
        logits = self.linear(self.norm(self.embed_tokens(torch.arange(7))))
        torch.nn.functional.cross_entropy(logits, torch.arange(7)).backward()


def test_matrices_go_to_muon_and_the_rest_to_adamw():
    model = Small()
    model.backward()
    embedding, matrix = model.embed_tokens.weight.detach().clone(), model.linear.weight
    before = matrix.detach().clone()
    expected, _ = plain_step(
        before, matrix.grad, torch.zeros_like(matrix), rate=0.01, momentum=0.95, decay=0.05
    )

    Optimizer(model).step(0.01)

    assert difference(matrix.detach() - before, expected - before) < ROUNDING
    # The first step of Adam is the rate, whatever the gradient is.
    moved = (model.embed_tokens.weight.detach() - embedding).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), atol=1e-4, rtol=0.0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_saved_state_of_both_goes_on_as_if_nothing_had_happened():
    model, resumed = Small(), Small()
    optimizer = Optimizer(model)
    model.backward()
    optimizer.step(0.01)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(model.state_dict())
    other = Optimizer(resumed)
    other.load_state_dict(torch.load(file, weights_only=True))

    for one, by in ((model, optimizer), (resumed, other)):
        one.backward()
        by.step(0.005)

    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
