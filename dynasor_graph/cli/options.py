"""Options that several commands share, and what they mean to the library."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynasor_graph.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynasor_graph.engine import Engine
    from dynasor_graph.executor import Context
    from dynasor_graph.questions import Question
    from dynasor_graph.reward import Reward

ALGORITHM = Annotated[
    str, typer.Option("--algorithm", "-a", help="See `dynasor-graph algorithms`.")
]
POLICY = Annotated[
    str | None,
    typer.Option(
        "--policy",
        "-p",
        help="When to stop: a name, a name with parameters (beta:confidence=0.9), or JSON. "
        "See `dynasor-graph policies`. By default the algorithm's own.",
        show_default=False,
    ),
]
SHADOW = Annotated[
    str | None,
    typer.Option(
        help="Policies, separated by commas, that are asked at the same moments and stop nothing: "
        "what each would have done is recorded and shown.",
        show_default=False,
    ),
]
MODEL = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model folder, a hub name, or a bundled model; with --url, the server's model.",
    ),
]
URL = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Use the OpenAI-compatible server there instead of vLLM in this process. "
        "Its key is read from DYNASOR_API_KEY.",
        show_default=False,
    ),
]
ENGINE = Annotated[
    str | None,
    typer.Option(
        "--engine",
        "-e",
        help="vllm, openai or fake (answers 42: to try the tool itself). By default openai if "
        "there is a --url, else vllm.",
        show_default=False,
    ),
]
ENGINE_ARG = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-arg",
        help="An argument of the engine, as key=value, such as gpu_memory_utilization=0.5 for "
        "vLLM; may be given several times.",
    ),
]
REWARD = Annotated[
    str,
    typer.Option(
        "--reward",
        help="What judges solutions, for algorithms that search: a bundled reward model, a folder, a "
        "hub name, or the address of a vLLM server that pools.",
    ),
]
TOKENS = Annotated[
    int | None,
    typer.Option(help="Most tokens one program may generate, probes included."),
]
SECONDS = Annotated[
    float | None,
    typer.Option(help="Deadline of one program, in seconds: it ends with the best answer it has."),
]
WINDOW = Annotated[int | None, typer.Option(help="Branches of one program in flight at a time.")]
BRANCHES = Annotated[int | None, typer.Option(help="Most branches of one program (the knob).")]
TEMPERATURE = Annotated[float | None, typer.Option(help="Sampling temperature, 0 to 2.")]
MAX_TOKENS = Annotated[int | None, typer.Option(help="Most tokens of one branch.")]
SEED = Annotated[int | None, typer.Option(help="Makes sampling repeatable.")]
SYSTEM = Annotated[str | None, typer.Option(help="System message before every question.")]
ANSWERS = Annotated[
    str | None,
    typer.Option(
        "--answers",
        help="What makes two answers the same: math (the default), exact, choice, number, set, list, "
        "json, expression, embedding or judge; with parameters (number:tolerance=0.01), or JSON.",
        show_default=False,
    ),
]
SET = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other setting of the algorithm, as key=value; may be given several times.",
    ),
]
PROGRAMS = Annotated[
    int | None,
    typer.Option(
        help="Programs in flight at a time; what does not fit the engine waits. By default twice as "
        "many as fill it.",
        min=1,
        show_default=False,
    ),
]
SCHEDULER = Annotated[
    str,
    typer.Option(
        help="Order of all programs' requests: sjf (shortest job first), gang, program-fifo, edf, fcfs; "
        "or none: straight to the engine."
    ),
]
OTEL = Annotated[
    bool,
    typer.Option(
        "--otel",
        help="Send OpenTelemetry spans and metrics, as the OTEL_ variables say; by default by OTLP "
        "to localhost:4318. Setting one of these variables does the same.",
    ),
]
JSON_OUT = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")
]


def watch_if(otel: bool) -> None:
    """Turn telemetry on if it was asked for.

    Raises:
        NotInstalled: The extra `otel` is missing.
    """
    if otel:
        from dynasor_graph.telemetry import enable_telemetry

        enable_telemetry()


def settings_of(
    *,
    policy: str | None,
    tokens: int | None,
    seconds: float | None,
    window: int | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    extra: list[str] | None,
    shadow: str | None = None,
    **plain: Any,
) -> dict[str, Any]:
    """The algorithm's settings that these options ask for; what was not given keeps its default.

    Raises:
        ConfigError: A `--set` is not key=value, or names no setting of an algorithm; or there is no
            such shadow policy.
    """
    from dynasor_graph.cli.replay import policies_of

    budget = {"tokens": tokens, "seconds": seconds, "concurrency": window}
    sampling = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    settings: dict[str, Any] = {"policy": policy, **plain}
    if shadow is not None:
        settings["shadow"] = list(policies_of(shadow, "--shadow"))
    for name, group in (("budget", budget), ("sampling", sampling)):
        given = {key: value for key, value in group.items() if value is not None}
        settings[name] = given or None
    settings = {key: value for key, value in settings.items() if value is not None}
    return settings_with(settings, extra or ())


def settings_with(settings: dict[str, Any], pairs: Iterable[str]) -> dict[str, Any]:
    """Settings with some more, each as key=value; what is given is not changed.

    Raises:
        ConfigError: One is not key=value, or names no setting of an algorithm.
    """
    settings = copy.deepcopy(settings)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes key=value, got {pair!r}")
        path = key.strip().replace("-", "_").split(".")
        if path[0] in {
            "algorithm",
            "engine",
            "reward",
        }:  # no settings of an algorithm: options of their own
            raise ConfigError(f"--set {path[0]}: use the option --{path[0]} instead")
        _put(settings, path, value)
    return settings


def _put(settings: dict[str, Any], path: list[str], text: str) -> None:
    """Set a value that may lie in a group: `budget.rounds=3`."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    for name in path[:-1]:
        settings[name] = settings.get(name) or {}
        settings = settings[name]
        if not isinstance(settings, dict):
            raise ConfigError(f"--set {'.'.join(path)}: {name} is {settings!r}, which has no parts")
    settings[path[-1]] = value


def warn_if_elsewhere(policy: str | None, algorithm: str, context: Context, model: str) -> None:
    """Say how a run differs from what its policy file was certified for."""
    if policy is None or not policy.strip().endswith(".json"):
        return
    from dynasor_graph.calibration import read_policy_file
    from dynasor_graph.cli.output import warn

    try:
        told = read_policy_file(Path(policy.strip()))
    except InputError:
        return  # a bare rule, of which nothing was promised
    differs = told.mismatches(
        model=Path(model).name,
        algorithm=algorithm,
        temperature=context.sampling.temperature,
        cap=getattr(context, "branches", None),
        window=context.budget.concurrency,
        vote=getattr(context, "vote", None),
    )
    for what in differs:
        warn(f"{policy}: {what}: its bound does not hold here")


BESIDE_REWARD = 0.75
"""The generator's share of a GPU's memory where a reward model has to fit beside it."""


def engine_of(
    engine: str | None,
    model: str,
    url: str | None,
    arguments: list[str] | None = None,
    *,
    judged: bool = False,
) -> Engine:
    """The engine that these options ask for, not yet open.

    Args:
        engine: Its kind.
        model: Its model.
        url: Its address, if it is a server.
        arguments: What else it is told, as key=value.
        judged: Whether a reward model is to run beside it.

    Raises:
        ConfigError: They contradict each other, or there is no such engine or argument.
    """
    from dynasor_graph.engine import make_engine

    kind = engine or ("openai" if url else "vllm")
    given: dict[str, Any] = {}
    for pair in arguments or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--engine-arg takes key=value, got {pair!r}")
        _put(given, [name.strip().replace("-", "_")], value)
    if kind == "vllm":
        given.setdefault("thread", False)  # a command has one loop, and lives as long as it
    if judged and kind == "vllm" and Path("/dev/nvidiactl").exists():
        given.setdefault("gpu_memory_utilization", BESIDE_REWARD)
    key = os.environ.get("DYNASOR_API_KEY")
    if key and kind == "openai":
        given.setdefault("api_key", key)
    return make_engine(kind, model=model, url=url, **given)


def is_judged(algorithms: Iterable[str]) -> bool:
    """Whether any of these algorithms needs a reward.

    Raises:
        UnknownName: There is no such algorithm.
    """
    from dynasor_graph.algorithms import find_algorithm
    from dynasor_graph.executor import Judged

    return any(issubclass(find_algorithm(name).settings, Judged) for name in algorithms)


def reward_of(spec: str, engine: Engine) -> Reward:
    """The reward that this option asks for, not yet open.

    Raises:
        ConfigError: There is no such model.
    """
    from dynasor_graph.engine.names import is_url
    from dynasor_graph.reward import FunctionReward, open_reward

    if engine.model == "fake":
        return FunctionReward(lambda partial: 0.5, name="fake")
    return open_reward(spec, **({} if is_url(spec) else {"thread": False}))


def questions_of(source: Path) -> tuple[list[Question], list[str]]:
    """The questions of a file, or of a bundled set if there is no file of that name.

    Returns:
        The questions, and for each line that is none a message.

    Raises:
        InputError: There is neither, or not one line of the file is a question.
    """
    from dynasor_graph.abacus import DATASETS, dataset
    from dynasor_graph.questions import Question, read_questions

    if source.exists() or str(source) not in DATASETS:
        return read_questions(source)
    drawn = dataset(str(source))
    return [Question(id=q.id, text=q.question, gold=q.answer) for q in drawn], []
