"""The checkpoint of a training run: one file, of one run, never lost by mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from models.abacus.checkpoints import CheckpointError, Checkpoints  # noqa: E402

SETTINGS = {"steps": 10, "lr": 0.5}
LONG = 1e6


def checkpoints(
    folder: Path, minutes: float = LONG, changed: Mapping[str, object] | None = None
) -> Checkpoints:
    return Checkpoints(folder, minutes, {**SETTINGS, **(changed or {})})


def left(folder: Path) -> Path:
    """A folder with the checkpoint of an interrupted run."""
    checkpoints(folder).save({"step": 3, "model": {"weight": torch.arange(3)}})
    return folder


def test_a_fresh_run_begins_with_nothing(tmp_path: Path):
    saved = checkpoints(tmp_path / "not-there-yet")
    saved.open(resume=False)

    assert saved.state is None


def test_a_resumed_run_has_what_was_saved_last(tmp_path: Path):
    left(tmp_path)
    checkpoints(tmp_path).save({"step": 7, "model": {"weight": torch.ones(2)}})
    saved = checkpoints(tmp_path)
    saved.open(resume=True)

    assert saved.state is not None
    assert saved.state["step"] == 7
    assert torch.equal(saved.state["model"]["weight"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"], "and no part of one"


def test_a_removed_checkpoint_is_gone(tmp_path: Path):
    saved = checkpoints(left(tmp_path))
    saved.remove()
    saved.remove()

    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_would_be_lost_is_refused(tmp_path: Path):
    saved = checkpoints(left(tmp_path))

    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is left .*add --resume"):
        saved.open(resume=False)


def test_nothing_to_resume_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"there is no .*checkpoint\.pt to resume"):
        checkpoints(tmp_path).open(resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"steps": 11}, "steps 10, not 11", id="another-value"),
        pytest.param({"batch": 2}, "batch None, not 2", id="a-setting-it-does-not-know"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(
    tmp_path: Path, settings: dict[str, object], message: str
):
    saved = checkpoints(left(tmp_path), changed=settings)

    with pytest.raises(CheckpointError, match=f"was made with {message}: resume it with the same"):
        saved.open(resume=True)
    assert saved.state is None


@pytest.mark.parametrize(
    ("minutes", "due"), [pytest.param(LONG, False, id="later"), pytest.param(0.0, True, id="now")]
)
def test_a_checkpoint_is_due_after_its_minutes(tmp_path: Path, minutes: float, due: bool):
    assert checkpoints(tmp_path, minutes).due() is due
