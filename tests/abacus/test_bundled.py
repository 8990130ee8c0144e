"""The bundled models are there, and are what their card says."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

import pytest

from dynasor_graph.abacus import BUNDLED, bundled, model_path, reward_path
from dynasor_graph.errors import ConfigError


def parameters(folder: Path) -> int:
    with (folder / "model.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


@pytest.mark.parametrize("name", BUNDLED)
def test_each_bundled_model_is_complete(name: str) -> None:
    folder = BUNDLED[name]()
    assert folder.name == name
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= {
        path.name for path in folder.iterdir()
    }
    assert parameters(folder) == pytest.approx(7_020_000, rel=0.001)


def test_the_two_paths_are_the_two_models() -> None:
    assert dict(BUNDLED) == {"abacus-7m": model_path, "abacus-7m-reward": reward_path}
    config = json.loads((model_path() / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    config = json.loads((reward_path() / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "bundled.py"))
    with pytest.raises(ConfigError, match=r"no weights for abacus-7m .*install dynasor-graph"):
        model_path()
