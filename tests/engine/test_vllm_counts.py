"""Load of vLLM, counted from what its engine process reports."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from dynasor_graph.engine.vllm_counts import Counts
from dynasor_graph.types import Load

pytestmark = pytest.mark.anyio


def output(request: str, tokens: int, computed: int | None = None) -> SimpleNamespace:
    prefill = None if computed is None else SimpleNamespace(num_computed_tokens=computed)
    return SimpleNamespace(
        request_id=request, new_token_ids=list(range(tokens)), prefill_stats=prefill
    )


def stats(running: int, waiting: int, usage: float) -> SimpleNamespace:
    return SimpleNamespace(num_running_reqs=running, num_waiting_reqs=waiting, kv_cache_usage=usage)


def step(outputs: Iterable[Any] = (), report: Any = None, rank: int = 0) -> SimpleNamespace:
    return SimpleNamespace(outputs=list(outputs), scheduler_stats=report, engine_index=rank)


class Core:
    """An engine process that reports these steps."""

    def __init__(self, steps: list[Any]) -> None:
        self.steps = iter(steps)

    async def get_output_async(self) -> Any:
        return next(self.steps)


def llm(steps: list[Any], *known: str) -> Any:
    processor = SimpleNamespace(request_states=dict.fromkeys(known), log_stats=True)
    return SimpleNamespace(
        output_processor=processor,
        engine_core=Core(steps),
        log_stats=True,
        logger_manager=object(),
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([], Load(), id="nothing yet"),
        pytest.param(
            [step([output("a", 1, computed=7), output("b", 1, computed=0)], stats(2, 3, 0.5))],
            Load(running=2, waiting=3, kv_usage=0.5, generated=2, prompt_computed=7),
            id="prompts that were cached are not computed",
        ),
        pytest.param(
            [step([output("a", 1, computed=7)], stats(1, 0, 0.1)), step([output("a", 2)])],
            Load(running=1, kv_usage=0.1, generated=3, prompt_computed=7),
            id="a step without statistics keeps those before it",
        ),
        pytest.param(
            [step(report=stats(2, 3, 0.5)), step(report=stats(4, 0, 0.2), rank=1)],
            Load(running=6, waiting=3, kv_usage=0.5),
            id="engines side by side add up, and the fullest cache counts",
        ),
        pytest.param(
            [step([output("gone", 5, computed=9), output("a", 1)], stats(1, 0, 0.0))],
            Load(running=1, generated=1),
            id="what was aborted is not seen by anybody",
        ),
    ],
)
async def test_load_is_that_of_the_last_step(steps: list[Any], expected: Load) -> None:
    engine = llm(steps, "a", "b")
    counts = Counts(engine)
    for one in steps:
        assert await engine.engine_core.get_output_async() is one  # vLLM reads what it always read
    assert counts.load == expected


def test_vllms_own_statistics_are_switched_off() -> None:
    engine = llm([])
    Counts(engine)
    assert not engine.log_stats
    assert not engine.output_processor.log_stats
    assert engine.logger_manager is None
