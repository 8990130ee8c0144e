"""Save an interrupted training run, and find it again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

__all__ = ["CheckpointError", "Checkpoints"]

_FILE: Final = "checkpoint.pt"


class CheckpointError(Exception):
    """There is no checkpoint to go on from, or one that would be lost, or it is another run's."""


class Checkpoints:
    """The checkpoint of one run: a single file in the folder that the model will be saved in.

    Args:
        folder: That folder.
        minutes: How often to save.
        settings: What must not change between the parts of a run.

    Attributes:
        state: What the interrupted run saved; None in a fresh run.
    """

    def __init__(self, folder: Path, minutes: float, settings: Mapping[str, object]) -> None:
        self._path = folder / _FILE
        self._interval = 60 * minutes
        self._settings = dict(settings)
        self._saved = time.monotonic()
        self.state: dict[str, Any] | None = None

    def open(self, *, resume: bool) -> None:
        """Look for a saved run, and read it into `state` if the user wants to go on from it.

        Args:
            resume: Whether the user wants that.

        Raises:
            CheckpointError: The wish does not fit what is there.
        """
        if self._path.exists() and not resume:
            raise CheckpointError(
                f"{self._path} is left from an interrupted run: add --resume to go on from it, "
                "or delete it to start again"
            )
        if not resume:
            return
        if not self._path.is_file():
            raise CheckpointError(f"there is no {self._path} to resume: leave --resume out")
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:
            # What torch raises on a damaged file is of a dozen kinds.
            raise CheckpointError(
                f"{self._path} cannot be read ({error}): delete it to start again"
            ) from error
        for name, value in self._settings.items():
            before = state["settings"].get(name)
            if before != value:
                raise CheckpointError(
                    f"{self._path} was made with {name} {before}, not {value}: resume it with the "
                    "same settings"
                )
        self.state = state

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved >= self._interval

    def save(self, state: Mapping[str, object]) -> None:
        """Replace the saved run by this one."""
        # Written beside and then renamed: a run that is killed while it saves keeps the last one.
        part = self._path.with_suffix(".part")
        torch.save({**state, "settings": self._settings}, part)
        part.replace(self._path)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Forget the saved run, once the model itself is saved."""
        self._path.unlink(missing_ok=True)
