"""The bundled models and recordings are there, and the models are what their card says."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

from dynasor_graph.abacus import (
    BUNDLED,
    RECORDED,
    bundled,
    model_path,
    recording_path,
    reward_path,
)
from dynasor_graph.errors import ConfigError, UnknownName


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


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in RECORDED.items() for kind in kinds]
)
def test_each_recording_is_there(name: str, kind: str) -> None:
    path = recording_path(name, kind)
    assert path.name == f"{name}.{kind}.jsonl.gz"
    with path.open("rb") as file:
        assert file.read(2) == b"\x1f\x8b", "no gzip file"


def test_direct_answers_are_the_recording_that_is_meant() -> None:
    assert recording_path("abacus-test") == recording_path("abacus-test", "direct")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        pytest.param(
            "abacus-tset",
            "direct",
            "unknown recorded data set 'abacus-tset': did you mean 'abacus-test'? "
            "there are: abacus-calibration, abacus-test",
            id="data-set",
        ),
        pytest.param(
            "abacus-test",
            "dirct",
            "unknown kind of recording 'dirct': did you mean 'direct'? "
            "there are: direct, direct-groups, think, think-groups",
            id="kind",
        ),
        pytest.param(
            "gsm8k",
            "probes",
            "unknown recorded data set 'gsm8k': there are: abacus-calibration, abacus-test",
            id="both",
        ),
    ],
)
def test_unknown_recordings_are_refused(name: str, kind: str, message: str) -> None:
    with pytest.raises(UnknownName) as refused:
        recording_path(name, kind)
    assert str(refused.value) == message


def test_missing_recordings_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "bundled.py"))
    path = tmp_path.resolve() / "samples" / "abacus-test.direct.jsonl.gz"
    with pytest.raises(ConfigError) as refused:
        recording_path("abacus-test")
    assert str(refused.value) == (
        f"this installation has no recorded samples (there is no {path}): install dynasor-graph "
        "again"
    )


def test_the_package_needs_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'vllm', 'langgraph'}"
    code = f"import sys, dynasor_graph.abacus; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
