"""What every engine does: one suite, run on the fake, scheduled or not, on vLLM, and over HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest

from dynasor_graph.engine import Engine, FakeEngine, complete
from dynasor_graph.errors import PromptTooLong
from dynasor_graph.scheduler import Scheduled
from dynasor_graph.types import Completion, Delta, Load, Message, Request
from tests.engine.conftest import COUNTING, go_on, real_only

pytestmark = pytest.mark.anyio


async def collect(engine: Engine, request: Request) -> list[Delta]:
    async with aclosing(engine.stream(request)) as deltas:
        return [delta async for delta in deltas]


async def complete_all(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(complete(engine, request)) for request in requests]
    return [task.result() for task in tasks]


async def reported(engine: Engine, expected: Callable[[Load], bool]) -> Load:
    """The load once it is as expected, or as it is after a second: real engines report by step."""
    # The fake's clock is the event loop.
    pause = 0 if isinstance(engine, FakeEngine | Scheduled) else 0.01
    load = await engine.load()
    for _ in range(100):
        if expected(load):
            break
        await asyncio.sleep(pause)
        load = await engine.load()
    return load


async def idle(engine: Engine) -> Load:
    """The load once all requests have left the engine, which has to be within a second."""
    load = await reported(engine, lambda load: load.running == load.waiting == 0)
    assert (load.running, load.waiting) == (0, 0)
    return load


def greedy(tokens: Sequence[int], max_tokens: int, **options: Any) -> Request:
    return Request(tokens=tuple(tokens), max_tokens=max_tokens, temperature=0, **options)


# Streaming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, 1, 16])
async def test_deltas_add_up_to_the_whole_answer(
    engine: Engine, prompt: tuple[int, ...], chunk: int
) -> None:
    whole = await complete(engine, greedy(prompt, 400))
    deltas = await collect(engine, greedy(prompt, 400, chunk=chunk))
    assert [token for delta in deltas for token in delta.token_ids] == whole.token_ids
    assert "".join(delta.text for delta in deltas) == whole.text
    assert sum(delta.count for delta in deltas) == whole.tokens
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == whole.finish_reason == "stop"


async def test_chunk_says_how_many_tokens_lie_between_two_deltas(
    engine: Engine, endless: tuple[int, ...]
) -> None:
    assert len(await collect(engine, greedy(endless, 64, chunk=0))) == 1
    coarse = await collect(engine, greedy(endless, 64, chunk=16))
    fine = await collect(engine, greedy(endless, 64, chunk=4))
    assert 4 <= len(coarse) <= 5
    assert 12 <= len(fine) <= 17


async def test_a_reader_that_comes_late_misses_nothing(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    whole = await complete(engine, greedy(prompt, 60))
    late = Completion()
    async with aclosing(engine.stream(greedy(prompt, 60, chunk=4))) as deltas:
        late.add(await anext(deltas))
        await complete(engine, greedy(prompt, 80))
        async for delta in deltas:
            late.add(delta)
    assert late.token_ids == whole.token_ids
    assert late.text == whole.text


async def test_a_request_can_be_made_again(engine: Engine, prompt: tuple[int, ...]) -> None:
    request = greedy(prompt, 20)
    first = await complete(engine, request)
    assert (await complete(engine, request)).token_ids == first.token_ids


async def test_many_requests_run_at_once(
    engine: Engine, prompt: tuple[int, ...], endless: tuple[int, ...]
) -> None:
    requests = [greedy(tokens, 32, chunk=8) for tokens in (prompt, endless) for _ in range(32)]
    done = await complete_all(engine, requests)
    assert [one.finish_reason for one in done] == ["length"] * 64
    assert {len(one.token_ids) for one in done} == {32}
    texts = {one.text for one in done[:32]}, {one.text for one in done[32:]}
    assert texts[0].isdisjoint(texts[1])
    await idle(engine)


# Ends ----------------------------------------------------------------------------------------


async def test_an_answer_that_ends_by_itself_says_stop(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    done = await complete(engine, greedy(prompt, 500))
    assert done.finish_reason == "stop"
    assert done.tokens == len(done.token_ids) + 1  # the end-of-text token, made and left out
    assert done.text == await engine.decode(done.token_ids)


@pytest.mark.parametrize("chunk", [0, 4])
async def test_an_answer_that_is_cut_says_length(
    engine: Engine, prompt: tuple[int, ...], chunk: int
) -> None:
    done = await complete(engine, greedy(prompt, 10, chunk=chunk))
    assert done.finish_reason == "length"
    assert done.tokens == len(done.token_ids) == 10


async def test_a_single_token_can_be_asked_for(engine: Engine, prompt: tuple[int, ...]) -> None:
    (only,) = await collect(engine, greedy(prompt, 1, chunk=16))
    assert (only.count, len(only.token_ids), only.finish_reason) == (1, 1, "length")


async def test_an_empty_answer_is_one_token_that_is_not_shown(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    whole = await complete(engine, greedy(prompt, 500))
    (only,) = await collect(engine, greedy([*prompt, *whole.token_ids], 1))
    assert (only.count, only.token_ids, only.text, only.finish_reason) == (1, (), "", "stop")


async def test_a_stop_token_ends_the_answer_and_is_among_its_tokens(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    whole = await complete(engine, greedy(prompt, 100))
    stop = whole.token_ids[20]
    done = await complete(engine, greedy(prompt, 100, stop_token_ids=(stop,)))
    assert done.finish_reason == "stop"
    assert done.token_ids == whole.token_ids[: whole.token_ids.index(stop) + 1]
    assert done.tokens == len(done.token_ids)
    assert not done.at_end
    ended = await complete(engine, greedy(prompt, 1000))
    assert ended.at_end


@pytest.mark.parametrize("chunk", [0, 4])
async def test_a_stop_text_ends_the_answer_and_is_left_out_of_its_text(
    engine: Engine, prompt: tuple[int, ...], chunk: int
) -> None:
    whole = await complete(engine, greedy(prompt, 100))
    stop = whole.text[20:24]
    done = await complete(engine, greedy(prompt, 100, chunk=chunk, stop=("no such text", stop)))
    assert done.finish_reason == "stop"
    assert done.text == whole.text.partition(stop)[0]
    assert done.token_ids == whole.token_ids[: len(done.token_ids)]
    assert done.tokens == len(done.token_ids)
    assert (await engine.decode(done.token_ids)).startswith(done.text + stop)


# Tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 16, 37])
async def test_an_answer_cut_anywhere_goes_on_as_if_it_was_not(
    engine: Engine, prompt: tuple[int, ...], cut: int
) -> None:
    whole = await complete(engine, greedy(prompt, 400))
    head = await complete(engine, greedy(prompt, cut))
    rest = await complete(engine, greedy([*prompt, *head.token_ids], 400 - cut))
    assert [*head.token_ids, *rest.token_ids] == whole.token_ids
    assert head.tokens + rest.tokens == whole.tokens > 100
    assert rest.finish_reason == "stop"


@pytest.mark.parametrize("text", ["So I get 12.\n", "  two  spaces", "\\boxed{7}", "1 2 3"])
async def test_text_survives_encoding(engine: Engine, text: str) -> None:
    tokens = await engine.encode(text)
    assert await engine.decode(tokens) == text
    assert await engine.decode([]) == ""


async def test_nothing_is_added_to_encoded_text(engine: Engine) -> None:
    first, second = await engine.encode("So I get 12.\n"), await engine.encode("\\boxed{7}")
    assert await engine.decode([*first, *second]) == "So I get 12.\n\\boxed{7}"
    assert await engine.encode("So I get 12.\n") == first


async def test_a_rendered_chat_holds_its_messages_and_opens_the_answer(
    engine: Engine, question: list[Message]
) -> None:
    turns: list[Message] = [*question, {"role": "assistant", "content": "The answer is 9."}]
    once = await engine.render(question)
    again = await engine.render([*turns, *question])
    text = await engine.decode(again)
    assert text.count(question[0]["content"]) == 2
    assert text.count("The answer is 9.") == 1
    assert len(again) > 2 * len(once)


async def test_thinking_changes_only_the_end_of_a_rendered_chat(
    engine: Engine, question: list[Message]
) -> None:
    plain, thinking = await engine.render(question), await engine.render(question, thinking=True)
    shared = min(len(plain), len(thinking)) - 4
    assert plain != thinking
    assert plain[:shared] == thinking[:shared]


# The ledger ----------------------------------------------------------------------------------


async def test_counts_are_those_of_the_engine(
    engine: Engine, prompt: tuple[int, ...], endless: tuple[int, ...]
) -> None:
    before = await idle(engine)
    requests = [greedy(prompt, 400), greedy(prompt, 400, chunk=16), greedy(endless, 40, chunk=8)]
    done = await complete_all(engine, requests)
    spent = sum(one.tokens for one in done)
    load = await reported(engine, lambda load: load.generated >= before.generated + spent)
    assert load.generated - before.generated == spent
    assert {one.finish_reason for one in done} == {"stop", "length"}


async def test_a_prompt_seen_before_comes_out_of_the_cache(engine: Engine) -> None:
    # No other test has this beginning, so its first run finds nothing.
    text = f"{engine.model} {uuid4()} cache " + "The cat has seven apples and six pears. " * 12
    tokens = (await engine.encode(text))[: 4 * engine.block + 3]
    before = await idle(engine)
    first = await complete(engine, greedy(tokens, 4))
    second = await complete(engine, greedy(tokens, 4))
    assert first.cached < engine.block
    assert second.cached == 4 * engine.block
    computed = 2 * len(tokens) - first.cached - second.cached
    load = await reported(
        engine, lambda load: load.prompt_computed >= before.prompt_computed + computed
    )
    assert load.prompt_computed - before.prompt_computed == computed


async def test_a_whole_prompt_is_never_cached(engine: Engine) -> None:
    text = f"{engine.model} {id(engine)} whole " + "The dog has seven apples and six pears. " * 12
    tokens = (await engine.encode(text))[: 3 * engine.block]
    await complete(engine, greedy(tokens, 1))
    assert (await complete(engine, greedy(tokens, 1))).cached == 2 * engine.block


@pytest.mark.parametrize("chunk", [0, 8])
async def test_log_probabilities_come_only_if_asked_for(
    engine: Engine, prompt: tuple[int, ...], chunk: int
) -> None:
    without = await complete(engine, greedy(prompt, 20, chunk=chunk))
    short = await complete(engine, greedy(prompt, 10, chunk=chunk, logprobs=True))
    long = await complete(engine, greedy(prompt, 20, chunk=chunk, logprobs=True))
    assert without.logprob is None
    assert short.logprob is not None
    assert long.logprob is not None
    assert long.logprob <= short.logprob < 0
    assert long.token_ids == without.token_ids


@pytest.mark.parametrize("chunk", [0, 8])
async def test_every_token_has_a_confidence_only_if_asked_for(
    engine: Engine, prompt: tuple[int, ...], chunk: int
) -> None:
    found: list[float] = []
    count = 0
    request = greedy(prompt, 20, chunk=chunk, top_logprobs=20)
    async with aclosing(engine.stream(request)) as deltas:
        async for delta in deltas:
            assert len(delta.confidences) == delta.count
            found.extend(delta.confidences)
            count += delta.count
    assert len(found) == count > 0
    # The mean of 20 log-probabilities can be no nearer to 0 than that of 20 equal ones.
    assert all(value >= math.log(20) - 1e-3 for value in found)
    async with aclosing(engine.stream(greedy(prompt, 20, chunk=chunk))) as deltas:
        async for delta in deltas:
            assert delta.confidences == ()


# Stopping ------------------------------------------------------------------------------------


async def test_an_aborted_request_keeps_its_tokens_and_leaves_the_engine(
    engine: Engine, endless: tuple[int, ...]
) -> None:
    request = greedy(endless, 900, chunk=4)
    partial = Completion()
    async with aclosing(engine.stream(request)) as deltas:
        partial.add(await anext(deltas))
        partial.add(await anext(deltas))
        async with asyncio.timeout(1):
            await engine.abort(request)
        async for delta in deltas:
            partial.add(delta)
    await idle(engine)
    assert partial.finish_reason == "terminated"
    assert 4 < partial.tokens < 900
    same = await complete(engine, greedy(endless, partial.tokens))
    assert partial.token_ids == same.token_ids


async def test_a_request_without_chunks_can_be_aborted_too(
    engine: Engine, endless: tuple[int, ...]
) -> None:
    before = await idle(engine)
    request = greedy(endless, 900)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(complete(engine, request))
        assert (await reported(engine, lambda load: load.generated > before.generated)).running
        await engine.abort(request)
    partial = reading.result()
    assert partial.finish_reason == "terminated"
    assert 0 <= partial.tokens == len(partial.token_ids) < 900
    await idle(engine)


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_a_request_can_be_aborted_before_it_runs(
    engine: Engine, endless: tuple[int, ...], turns: int
) -> None:
    request = greedy(endless, 900, chunk=4)
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        reading = group.create_task(complete(engine, request))
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.abort(request)
    assert reading.result().finish_reason == "terminated"
    assert reading.result().tokens < 100
    await idle(engine)


async def test_aborting_what_does_not_run_does_nothing(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    request, other = greedy(prompt, 10), greedy(prompt, 10)
    await engine.abort(request)
    done = await complete(engine, request)
    await engine.abort(request)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(complete(engine, other))
        await engine.abort(request)
    assert done.finish_reason == reading.result().finish_reason == "length"
    assert done.token_ids == reading.result().token_ids


async def test_aborting_one_request_leaves_its_twin_alone(
    engine: Engine, endless: tuple[int, ...]
) -> None:
    one, twin = greedy(endless, 60, chunk=4), greedy(endless, 60, chunk=4)
    async with asyncio.TaskGroup() as group:
        left = group.create_task(complete(engine, twin))
        async with aclosing(engine.stream(one)) as deltas:
            await anext(deltas)
            await engine.abort(one)
            last = [delta async for delta in deltas][-1]
    assert last.finish_reason == "terminated"
    assert left.result().finish_reason == "length"
    assert left.result().tokens == 60


async def test_closing_a_stream_early_frees_its_request(
    engine: Engine, endless: tuple[int, ...]
) -> None:
    async with aclosing(engine.stream(greedy(endless, 900, chunk=4))) as deltas:
        await anext(deltas)
    await idle(engine)


async def test_cancelling_the_reader_frees_its_request(
    engine: Engine, endless: tuple[int, ...]
) -> None:
    before = await idle(engine)
    reading = asyncio.ensure_future(complete(engine, greedy(endless, 900)))
    assert (await reported(engine, lambda load: load.generated > before.generated)).running
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await idle(engine)


@pytest.mark.timeout(240)
async def test_a_thousand_cancellations_leave_nothing_behind(
    engine: Engine, endless: tuple[int, ...]
) -> None:
    """A third is cancelled as it starts, the others when they have said something."""

    async def read(deltas: int, enough: asyncio.Event) -> None:
        async with aclosing(engine.stream(greedy(endless, 500, chunk=2))) as stream:
            for _ in range(deltas):
                await anext(stream)
            enough.set()
            await anext(stream)
            await asyncio.Event().wait()

    for batch in range(20):
        tasks, events = [], [asyncio.Event() for _ in range(50)]
        for i, event in enumerate(events):
            tasks.append(asyncio.ensure_future(read(i % 3, event)))
        for _ in range(batch):
            await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        for i, event in enumerate(events):
            await (event.wait() if i % 3 else asyncio.sleep(0))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    load = await idle(engine)
    assert load.kv_usage < 0.01


# Seeds and limits ------------------------------------------------------------------------------


@real_only
async def test_a_seed_repeats_an_answer(engine: Engine, prompt: tuple[int, ...]) -> None:
    def drawn(seed: int | None) -> Request:
        return Request(tokens=prompt, max_tokens=60, temperature=1.0, seed=seed)

    # Near seeds often draw alike; the model has little to choose but its first words.
    alone = await complete(engine, drawn(5))
    crowd = await complete_all(engine, [drawn(seed) for seed in (5, 6, 11, None, None)])
    assert crowd[0].token_ids == alone.token_ids
    assert len({tuple(one.token_ids) for one in crowd[:3]}) == 3


@real_only
async def test_top_k_of_one_draws_the_likeliest_token(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    options: dict[str, Any] = {"tokens": prompt, "max_tokens": 4, "temperature": 2.0}
    drawn = [Request(**options, top_k=1, seed=seed, logprobs=True) for seed in range(8)]
    best = await complete(engine, greedy(prompt, 4, logprobs=True))
    for one in await complete_all(engine, drawn):
        assert one.logprob == pytest.approx(best.logprob)


async def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    with pytest.raises(PromptTooLong, match=rf"{len(prompt)} .* {engine.context} ") as refusal:
        await complete(engine, greedy(prompt, engine.context - len(prompt) + 1))
    assert (refusal.value.tokens, refusal.value.context) == (len(prompt), engine.context)
    await idle(engine)


async def test_prompt_and_answer_may_fill_the_context(
    engine: Engine, prompt: tuple[int, ...]
) -> None:
    tokens = (prompt * (1 + engine.context // len(prompt)))[: engine.context - 2]
    assert (await complete(engine, greedy(tokens, 2))).tokens in {1, 2}


async def test_every_engine_is_one_by_its_protocol(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert engine.model
    assert engine.context > engine.block > 0


# Event loops -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["fake", "scheduled", pytest.param("vllm", marks=pytest.mark.vllm)]
)
def test_an_engine_serves_one_event_loop_after_another(
    request: pytest.FixtureRequest, name: str
) -> None:
    """An `OpenAIEngine` belongs to the loop it is opened in, as its documentation says."""
    engine: Engine = FakeEngine(go_on)
    if name == "scheduled":
        engine = Scheduled(engine)
    elif name == "vllm":
        engine = request.getfixturevalue("vllm_engine")

    async def ask() -> list[int]:
        tokens = await engine.encode(COUNTING)
        return (await complete(engine, greedy(tokens, 12, chunk=4))).token_ids

    first, second = asyncio.run(ask()), asyncio.run(ask())
    assert first == second
    assert len(first) == 12
