"""The recipe from end to end, on the CPU and with a model that is far too small to learn."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dynasor_graph.abacus import FAMILIES, chat, model_path
from dynasor_graph.abacus.questions import TRAINED_STEPS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models.abacus import answers, evaluate, record, sampling, train_lm, train_reward  # noqa: E402
from models.abacus.checkpoints import Checkpoints  # noqa: E402
from models.abacus.muon import Optimizer  # noqa: E402
from models.abacus.scoring import line_ends, score  # noqa: E402

ROOT = Path(__file__).parents[2]
ALONE = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
"""No GPU and no network; on more threads a model this small only waits for them."""

SIZE = ["--tokens", "2048", "--hidden", "64", "--intermediate", "64", "--layers", "1"]
LANGUAGE = ["--steps", "2", *SIZE]
REWARD = ["--problems", "1", "--line-steps", "1", "--steps", "1", "--batch", "4"]
FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def run(command: str, *words: str | Path) -> str:
    """What a command of the recipe prints."""
    ended = subprocess.run(
        [sys.executable, "-m", f"models.abacus.{command}", *map(str, words)],
        cwd=ROOT,
        env=os.environ | ALONE,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe")


@pytest.fixture(scope="module")
def language(folder: Path) -> tuple[Path, str]:
    """The language model, and what its training printed."""
    return folder / "lm", run("train_lm", "--out", folder / "lm", *LANGUAGE)


@pytest.fixture(scope="module")
def reward(folder: Path, language: tuple[Path, str]) -> tuple[Path, str]:
    """The reward model, and what its training printed."""
    said = run("train_reward", "--model", language[0], "--out", folder / "rm", *REWARD)
    return folder / "rm", said


@pytest.fixture(scope="module")
def measured(
    folder: Path, language: tuple[Path, str], reward: tuple[Path, str]
) -> tuple[dict[str, Any], str]:
    """The numbers of both, and what was printed."""
    path = folder / "deeper" / "numbers.json"
    models = ("--model", language[0], "--reward", reward[0])
    said = run("evaluate", *models, "--questions", "1", "--count", "1", "--json", path)
    return json.loads(path.read_text()), said


@pytest.fixture
def single_thread() -> Any:
    """One thread, as above; the others of this process get theirs back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# What the commands make --------------------------------------------------------------------------


def test_the_language_model_is_saved_as_others_load_it(language: tuple[Path, str]):
    path, said = language

    names = {one.name for one in path.iterdir()}
    assert names >= FILES
    assert "checkpoint.pt" not in names
    assert sampling.require_model(path, "") == path
    config = json.loads((path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["hidden_size"], config["num_hidden_layers"]) == (64, 1)
    assert config["dtype"] == "bfloat16"
    model = sampling.load_model(path, torch.device("cpu"))
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert "step 2 of 2: " in said
    assert "trained 2 steps" in said
    assert said.endswith(f"saved in {path}\n")


def test_training_moved_the_weights(language: tuple[Path, str]):
    path, _ = language
    args = train_lm.parse(["--out", str(path), *LANGUAGE])

    first = train_lm.build_model(args, sampling.load_tokenizer(path)).to(torch.bfloat16)

    made = sampling.load_model(path, torch.device("cpu")).state_dict()
    moved = {name for name, value in first.state_dict().items() if not value.equal(made[name])}
    assert {"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"} <= moved


def test_the_tokenizer_is_the_bundled_one_byte_for_byte(language: tuple[Path, str]):
    name = "tokenizer.json"

    assert (language[0] / name).read_bytes() == (model_path() / name).read_bytes()


def test_the_reward_model_is_saved_with_one_output(reward: tuple[Path, str]):
    path, said = reward

    assert {one.name for one in path.iterdir()} >= FILES
    assert not (path / "checkpoint.pt").exists()
    config = json.loads((path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    model = transformers.LlamaForSequenceClassification.from_pretrained(path)
    assert model.score.weight.shape == (1, 64)
    assert "8 answers, " in said
    assert "step 1 of 2, written answers: " in said
    assert "step 2 of 2, own answers: " in said


def test_the_numbers_are_of_all_questions(measured: tuple[dict[str, Any], str]):
    report, said = measured

    assert list(report) == [
        "direct answers",
        "direct answers, by thirds",
        "reward",
        "thinking",
        "forced answers, by tokens of thought",
    ]
    table = report["direct answers"]
    count = TRAINED_STEPS * len(FAMILIES)
    assert table["all"]["questions"] == count
    assert [table[family]["questions"] for family in FAMILIES] == [TRAINED_STEPS] * len(FAMILIES)
    assert [table[f"steps {n}"]["questions"] for n in range(1, TRAINED_STEPS + 1)] == (
        [len(FAMILIES)] * TRAINED_STEPS
    )
    assert report["reward"]["all"]["samples"] == count
    assert 0 < report["reward"]["all"]["ece end"] < 1
    forced = list(report["forced answers, by tokens of thought"].values())
    assert forced[0]["unfinished"] == 1
    unfinished = [row["unfinished"] for row in forced]
    assert unfinished == sorted(unfinished, reverse=True)
    assert all(name in said for name in report)


@pytest.mark.parametrize("made", ["language", "reward", "measured"])
def test_without_a_gpu_the_time_is_spoken_of_first(request: pytest.FixtureRequest, made: str):
    _, said = request.getfixturevalue(made)

    first = said.splitlines()[0]
    assert first.startswith("device: CPU, 1 threads. No GPU found: ")
    assert "2 cores" in first


# Interrupted runs --------------------------------------------------------------------------------


def leave(folder: Path, args: argparse.Namespace, state: Mapping[str, object]) -> None:
    """Leave the checkpoint of an interrupted run of these options."""
    folder.mkdir(exist_ok=True)
    plain = {name: str(x) if isinstance(x, Path) else x for name, x in vars(args).items()}
    Checkpoints(folder, 1.0, plain | {"start": str(getattr(args, "start", None))}).save(state)


def end(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, *words: str | Path
) -> str | int | None:
    """Run a command in this process; what it ends with, None if all went well."""
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
    try:
        module.main()
    except SystemExit as ended:
        return ended.code
    return None


def refused(code: str | int | None) -> str:
    """The message of a command that failed: one line, for which Python exits with status 1."""
    assert isinstance(code, str)
    assert code.startswith("error: ")
    assert len(code.splitlines()) == 1
    return code.removeprefix("error: ")


def test_an_interrupted_language_model_is_resumed_and_not_lost(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    language: tuple[Path, str],
):
    # Interrupted after its last step, before it was saved: to resume it takes no other step.
    words = ["--out", str(tmp_path), *LANGUAGE]
    args = train_lm.parse(words)
    tokenizer = sampling.load_tokenizer(language[0])
    model = train_lm.build_model(argparse.Namespace(**vars(args) | {"seed": 9}), tokenizer)
    progress = {"step": 2, "seen": 4096, "elapsed": 60.0}
    optimizer = Optimizer(model).state_dict()
    leave(tmp_path, args, {"model": model.state_dict(), "optimizer": optimizer, **progress})

    assert "add --resume to go on from it" in refused(end(monkeypatch, train_lm, *words))
    assert "made with seed 0, not 1" in refused(
        end(monkeypatch, train_lm, *words, "--resume", "--seed", "1")
    )
    assert {one.name for one in tmp_path.iterdir()} == {"checkpoint.pt"}
    capsys.readouterr()
    assert end(monkeypatch, train_lm, *words, "--resume") is None

    assert "resumed at step 2, 1.0 minutes in\ntrained 2 steps" in capsys.readouterr().out
    assert not (tmp_path / "checkpoint.pt").exists()
    saved = sampling.load_model(tmp_path, torch.device("cpu")).state_dict()
    expected = model.to(torch.bfloat16).state_dict()
    assert all(torch.equal(saved[name], value) for name, value in expected.items())


@pytest.mark.usefixtures("single_thread")
def test_a_reward_model_interrupted_after_sampling_does_not_sample_again(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    language: tuple[Path, str],
):
    words = ["--model", str(language[0]), "--out", str(tmp_path), *REWARD]
    args = train_reward.parse(words)
    own = answers.written(3, sampling.load_tokenizer(language[0]), random.Random(0))
    leave(tmp_path, args, {"answers": [*map(tuple, own)]})

    assert "add --resume to go on from it" in refused(end(monkeypatch, train_reward, *words))
    assert end(monkeypatch, train_reward, *words, "--resume") is None

    said = capsys.readouterr().out
    assert "sampling" not in said.partition("\n")[2]
    assert "3 answers, " in said
    assert {one.name for one in tmp_path.iterdir()} >= FILES
    assert not (tmp_path / "checkpoint.pt").exists()


class Killed(BaseException):
    """The run ends here."""


class Fatal(Checkpoints):
    """The run is killed once it has saved so many checkpoints."""

    left = 3

    def save(self, state: Mapping[str, object]) -> None:
        super().save(state)
        self.left -= 1
        if not self.left:
            raise Killed


@pytest.mark.usefixtures("single_thread")
@pytest.mark.parametrize(
    "line_steps", [pytest.param(4, id="first-stage"), pytest.param(1, id="second-stage")]
)
def test_an_interrupted_reward_model_comes_out_as_if_it_had_not_been(
    tmp_path: Path, language: tuple[Path, str], line_steps: int
):
    words = ["--model", str(language[0]), "--out", str(tmp_path), "--batch", "4", "--steps", "4"]
    args = train_reward.parse([*words, "--line-steps", str(line_steps)])
    own = answers.written(12, sampling.load_tokenizer(language[0]), random.Random(0))

    def model() -> Any:
        torch.manual_seed(3)
        return transformers.LlamaForSequenceClassification.from_pretrained(
            language[0], num_labels=1, dtype=torch.float32
        )

    whole = model()
    train_reward.learn(whole, own, Checkpoints(tmp_path, 1e6, {}), args)
    with pytest.raises(Killed):
        train_reward.learn(model(), own, Fatal(tmp_path, 0.0, {}), args)
    saved = Checkpoints(tmp_path, 1e6, {})
    saved.open(resume=True)
    assert saved.state is not None
    assert saved.state["step"] == 3
    resumed = model()
    kept = [answers.Answer(*answer) for answer in saved.state["answers"]]
    train_reward.learn(resumed, kept, saved, args)

    assert kept == own
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([1, 2], [1], id="one-line"),
        pytest.param([9], [0], id="a-newline-alone"),
        pytest.param([1, 9, 2], [1, 2], id="two-lines"),
        pytest.param([1, 9, 2, 9], [1, 3], id="ends-on-a-newline"),
    ],
)
def test_line_ends(ids: list[int], expected: list[int]):
    assert line_ends(ids, newline=9) == expected


@pytest.mark.usefixtures("single_thread")
def test_scores_do_not_depend_on_the_batch_they_are_in(reward: tuple[Path, str]):
    tokenizer = sampling.load_tokenizer(reward[0])
    (newline,) = sampling.encode(tokenizer, "\n")
    texts = ["Xena has 28.\nThe answer is \\boxed{28}.", "4", "", "1\n2\n3\n4\n5\n6\n7\n"]
    start = sampling.encode(tokenizer, chat("How many?"))
    pairs = [(start, sampling.encode(tokenizer, text)) for text in texts]

    together, alone = (
        score(reward[0], torch.device("cpu"), pairs, newline, batch=batch) for batch in (512, 1)
    )

    assert [len(one) for one in together] == [2, 1, 0, 7]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=0.02)
        assert all(0 < reward < 1 for reward in one)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("The answer is \\boxed{28}.", "28", id="one"),
        pytest.param("\\boxed{1} \\boxed{2}", "2", id="the-last"),
        pytest.param("The answer is 28.", None, id="none"),
        pytest.param("\\boxed{28", None, id="cut"),
    ],
)
def test_boxed(text: str, expected: str | None):
    assert sampling.boxed(text) == expected


@pytest.mark.parametrize(
    "rate",
    [
        pytest.param(lambda step: train_lm.learning_rate(2.0, step, step / 1000), id="language"),
        pytest.param(lambda step: train_reward.learning_rate(2.0, step, 1000), id="reward"),
    ],
)
def test_the_learning_rate_rises_then_falls_to_a_fiftieth(rate: Callable[[int], float]):
    rates = [rate(step) for step in range(1001)]
    top = rates.index(max(rates))

    assert 0 < rates[0] < 0.05
    assert 10 < top < 210
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 1.5 < rates[top] <= 2.0
    assert rates[-1] == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("minutes", "step", "elapsed", "done"),
    [
        pytest.param([], 5, 1e9, 0.5, id="by-steps"),
        pytest.param(["--minutes", "2"], 1, 90.0, 0.75, id="by-time"),
        pytest.param(["--minutes", "2"], 9, 30.0, 0.9, id="whichever-is-further"),
        pytest.param(["--minutes", "2"], 1, 500.0, 1.0, id="no-more-than-all"),
    ],
)
def test_progress(minutes: list[str], step: int, elapsed: float, done: float):
    args = train_lm.parse(["--out", "x", "--steps", "10", *minutes])

    assert train_lm.progress_of(args, step, elapsed) == pytest.approx(done)


# Mistakes of the user ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        pytest.param(
            train_lm,
            ["--out", "here", "--resume"],
            r"there is no .*checkpoint.pt to resume",
            id="train_lm-nothing-to-resume",
        ),
        pytest.param(train_lm, ["--out", "file"], "file", id="train_lm-out-is-a-file"),
        pytest.param(
            train_reward,
            ["--model", "nowhere", "--out", "here"],
            r"nowhere holds no model \(config.json is missing\): train one with python -m",
            id="train_reward-no-model",
        ),
        pytest.param(
            evaluate,
            ["--model", "nowhere"],
            r"nowhere holds no model .*models.abacus.train_lm$",
            id="evaluate-no-model",
        ),
        pytest.param(
            evaluate,
            ["--reward", "nowhere"],
            r"nowhere holds no model .*models.abacus.train_reward$",
            id="evaluate-no-reward-model",
        ),
        pytest.param(evaluate, ["--json", "file/x.json"], "file", id="evaluate-json-below-a-file"),
    ],
)
def test_wrong_paths_end_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    module: ModuleType,
    words: list[str],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")

    said = refused(end(monkeypatch, module, *words))

    assert re.search(message, said)
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing was begun"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_that_lacks_a_file_is_refused(
    tmp_path: Path, language: tuple[Path, str], missing: str
):
    shutil.copytree(language[0], tmp_path / "lm")
    (tmp_path / "lm" / missing).unlink()

    with pytest.raises(FileNotFoundError, match=rf"\({missing} is missing\): do this"):
        sampling.require_model(tmp_path / "lm", "do this")


OUT = ["--out", "x"]
BOTH = ["--model", "x", "--out", "y"]


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        pytest.param(train_lm, [], "--out", id="train_lm-no-out"),
        pytest.param(train_lm, [*OUT, "--steps", "0"], "at least 1, got 0", id="no-steps"),
        pytest.param(train_lm, [*OUT, "--steps", "x"], "invalid", id="steps-no-number"),
        pytest.param(train_lm, [*OUT, "--hidden", "100"], "multiple of 64, got 100", id="hidden"),
        pytest.param(train_lm, [*OUT, "--lr", "0"], "above 0, got 0", id="rate-0"),
        pytest.param(train_lm, [*OUT, "--lr", "nan"], "above 0, got nan", id="rate-nan"),
        pytest.param(train_lm, [*OUT, "--minutes", "inf"], "above 0, got inf", id="minutes"),
        pytest.param(
            train_lm, [*OUT, "--checkpoint-minutes", "-1"], "above 0, got -1", id="checkpoints"
        ),
        pytest.param(train_reward, OUT, "--model", id="train_reward-no-model"),
        pytest.param(train_reward, [*BOTH, "--problems", "0"], "at least 1", id="problems"),
        pytest.param(train_reward, [*BOTH, "--batch", "-4"], "at least 1", id="batch"),
        pytest.param(evaluate, ["--questions", "0"], "at least 1", id="questions"),
        pytest.param(evaluate, ["--count", "1.5"], "invalid", id="count"),
        pytest.param(evaluate, ["--temperature", "0"], "above 0", id="temperature"),
    ],
)
def test_bad_numbers_are_refused(
    capsys: pytest.CaptureFixture[str], module: ModuleType, words: list[str], message: str
):
    with pytest.raises(SystemExit) as ended:
        module.parse(words)

    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("module", [train_lm, train_reward, evaluate, record])
def test_help_is_given(capsys: pytest.CaptureFixture[str], module: ModuleType):
    with pytest.raises(SystemExit) as ended:
        module.parse(["--help"])

    assert ended.value.code == 0
    assert (module.__doc__ or "").partition("\n")[0] in " ".join(capsys.readouterr().out.split())
