"""Bundled: where the models and the recorded samples that come with the package lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dynasor_graph.errors import ConfigError, UnknownName

__all__ = ["BUNDLED", "RECORDED", "model_path", "recording_path", "reward_path"]

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


RECORDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "abacus-test": ("direct", "think", "direct-groups", "think-groups"),
        "abacus-calibration": ("direct", "think"),
    }
)
"""The kinds of samples that were recorded, by data set.

"direct": answers without thinking; "think": reasoning traces, each with a probe every 64 tokens.
"...-groups": drawn anew, with the confidence of groups of 32 and of 64 tokens; traces of every third
question alone, and without probes.
"""


def recording_path(name: str, kind: str = "direct") -> Path:
    """The file of samples that `abacus-7m` gave to a set of questions; read it with `recordings`.

    Args:
        name: One of `RECORDED`.
        kind: One of the kinds that were recorded of it.

    Raises:
        UnknownName: Nothing was recorded of this set, or not this kind.
        ConfigError: This installation came without the recordings.
    """
    if name not in RECORDED:
        raise UnknownName("recorded data set", name, RECORDED)
    if kind not in RECORDED[name]:
        raise UnknownName("kind of recording", kind, RECORDED[name])
    path = Path(__file__).resolve().parent / "samples" / f"{name}.{kind}.jsonl.gz"
    if not path.is_file():
        raise ConfigError(
            f"this installation has no recorded samples (there is no {path}): install "
            "dynasor-graph again"
        )
    return path


def _folder(name: str) -> Path:
    folder = Path(__file__).resolve().parent / "weights" / name
    if not (folder / "model.safetensors").is_file():
        raise ConfigError(
            f"this installation has no weights for {name} (there is no "
            f"{folder / 'model.safetensors'}): install dynasor-graph again"
        )
    return folder
