"""Where the bundled models lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dynasor_graph.errors import ConfigError

__all__ = ["BUNDLED", "model_path", "reward_path"]

_MODEL: Final = "abacus-7m"
_REWARD: Final = "abacus-7m-reward"


def model_path() -> Path:
    """The folder of `abacus-7m`, a Llama that vLLM and Transformers load as it is.

    Raises:
        ConfigError: This installation came without the weights.
    """
    return _folder(_MODEL)


def reward_path() -> Path:
    """The folder of `abacus-7m-reward`, which scores the answers of `abacus-7m`.

    Raises:
        ConfigError: This installation came without the weights.
    """
    return _folder(_REWARD)


BUNDLED: Final[Mapping[str, Callable[[], Path]]] = MappingProxyType(
    {_MODEL: model_path, _REWARD: reward_path}
)
"""The name of each bundled model, and the function that returns its folder."""


def _folder(name: str) -> Path:
    folder = Path(__file__).resolve().parent / "weights" / name
    if not (folder / "model.safetensors").is_file():
        raise ConfigError(
            f"this installation has no weights for {name} (there is no "
            f"{folder / 'model.safetensors'}): install dynasor-graph again"
        )
    return folder
