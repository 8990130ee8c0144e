"""Steps: the load of vLLM, and tokens that are put down before its front end sees them."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from dynasor_graph.engine.vllm_steps import Steps
from dynasor_graph.types import Load

pytestmark = pytest.mark.anyio


def output(
    request: str,
    tokens: int,
    computed: int | None = None,
    *,
    reason: str | None = None,
    logprobs: object = None,
) -> SimpleNamespace:
    prefill = None if computed is None else SimpleNamespace(num_computed_tokens=computed)
    return SimpleNamespace(
        request_id=request,
        new_token_ids=list(range(tokens)),
        prefill_stats=prefill,
        finish_reason=reason,
        new_logprobs=logprobs,
    )


def stats(running: int, waiting: int, usage: float) -> SimpleNamespace:
    return SimpleNamespace(num_running_reqs=running, num_waiting_reqs=waiting, kv_cache_usage=usage)


def step(
    outputs: Iterable[Any] = (), report: Any = None, rank: int = 0, ended: float = 1.0
) -> SimpleNamespace:
    return SimpleNamespace(
        outputs=list(outputs), scheduler_stats=report, engine_index=rank, timestamp=ended
    )


class Core:
    """An engine process that reports these steps."""

    def __init__(self, steps: list[Any]) -> None:
        self.steps = iter(steps)

    async def get_output_async(self) -> Any:
        return next(self.steps)


def llm(steps: list[Any], *known: str, **states: Any) -> Any:
    told = {name: SimpleNamespace(is_prefilling=True) for name in known} | states
    for name, one in told.items():
        one.external_req_id = f"{name} as asked"
    processor = SimpleNamespace(request_states=told, log_stats=True)
    return SimpleNamespace(
        output_processor=processor,
        engine_core=Core(steps),
        log_stats=True,
        logger_manager=object(),
    )


def nobody(begun: list[str], ended: list[str]) -> None:
    """Is not interested in what has begun and ended."""


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
    read = Steps(engine, nobody)
    for one in steps:
        assert await engine.engine_core.get_output_async() is one
    assert read.load == expected


async def test_what_prompts_cost_is_told_by_steps_of_a_full_batch() -> None:
    steps, now = [], 100.0
    for at in range(640):
        begun, full = at % 8 == 0, at < 512  # at the end few are left, and their steps are short
        now += (0.010 + 0.004 * begun) if full else 0.001
        outputs = [output(str(i), 1) for i in range(8 if full else 2)]
        if begun:
            outputs[0].prefill_stats = SimpleNamespace(num_computed_tokens=9)
        steps.append(step(outputs, ended=now))
    engine = llm(steps, *map(str, range(8)))
    read = Steps(engine, nobody)
    for _ in steps:
        await engine.engine_core.get_output_async()
    assert read.times.surcharge == pytest.approx(0.004)


async def test_each_step_says_by_name_what_has_begun_and_what_has_ended() -> None:
    steps = [
        step([output("a", 1, computed=7), output("b", 1, computed=0)]),
        step([output("a", 1), output("b", 1)]),
        step([output("a", 1, reason="length"), output("c", 1, computed=3, reason="stop")]),
        step([output("gone", 1, computed=3, reason="abort")]),
    ]
    engine, told = llm(steps, "a", "b", "c"), list[tuple[list[str], list[str]]]()
    Steps(engine, lambda begun, ended: told.append((begun, ended)))
    for _ in steps:
        await engine.engine_core.get_output_async()
    assert told == [
        (["a as asked", "b as asked"], []),
        (["c as asked"], ["a as asked", "c as asked"]),
    ]


def state(*, said: int, kind: str = "FINAL_ONLY", sent: int = 0, texts: bool = False) -> Any:
    """vLLM's record of a request that has said so many tokens."""
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.detokenizer import IncrementalDetokenizer

    class WithTexts(IncrementalDetokenizer):  # type: ignore[misc]
        pass

    detokenizer = WithTexts() if texts else IncrementalDetokenizer()
    detokenizer.token_ids = [7] * said
    return SimpleNamespace(
        is_prefilling=not said,
        detokenizer=detokenizer,
        output_kind=RequestOutputKind[kind],
        sent_tokens_offset=sent,
        stream_interval=4,
    )


@pytest.mark.parametrize(
    ("known", "came", "seen"),
    [
        pytest.param({"said": 3}, {}, False, id="in the middle of a whole reply"),
        pytest.param({"said": 0}, {}, True, id="the first tokens"),
        pytest.param({"said": 3}, {"reason": "stop"}, True, id="the end"),
        pytest.param({"said": 3}, {"logprobs": object()}, True, id="log-probabilities add up"),
        pytest.param({"said": 3, "texts": True}, {}, True, id="vLLM makes its text"),
        pytest.param({"said": 3, "kind": "DELTA", "sent": 1}, {}, True, id="a piece is due"),
        pytest.param({"said": 3, "kind": "DELTA", "sent": 2}, {}, False, id="it is not due yet"),
    ],
)
async def test_vllm_sees_what_says_something_new(
    known: dict[str, Any], came: dict[str, Any], seen: bool
) -> None:
    pytest.importorskip("vllm")
    request = state(**known)
    engine = llm([step([output("a", 2, **came), output("gone", 1)])], a=request)
    read = Steps(engine, nobody)
    found = await engine.engine_core.get_output_async()
    assert [one.request_id for one in found.outputs] == (["a"] if seen else [])
    put_down = 0 if seen else 2
    assert request.detokenizer.token_ids == [7] * known["said"] + list(range(put_down))
    assert read.load.generated == 2


def test_vllms_own_statistics_are_switched_off() -> None:
    engine = llm([])
    Steps(engine, nobody)
    assert not engine.log_stats
    assert not engine.output_processor.log_stats
    assert engine.logger_manager is None
