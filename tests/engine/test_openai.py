"""The client of OpenAI-compatible servers: what it asks for, and what it makes of bad answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.abacus import model_path
from dynasor_graph.engine import complete
from dynasor_graph.engine.openai import OpenAIEngine
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.errors import (
    ConfigError,
    DynasorError,
    EngineDied,
    EngineError,
    EngineRefused,
    EngineUnreachable,
    UnknownName,
)
from dynasor_graph.types import Delta, Load, Message, Request
from tests.engine.stub import Reply, Stub, chunk, events, usage

pytestmark = pytest.mark.anyio

COMPLETIONS = "POST /v1/completions"
REQUEST = Request(tokens=(5, 6, 7), max_tokens=20)
QUESTION: list[Message] = [{"role": "user", "content": "How many pens has Noah?"}]

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="abacus-7m"} 3.0
vllm:num_requests_running{engine="1",model_name="abacus-7m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="abacus-7m"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="abacus-7m"} 2.5e-01
vllm:prompt_tokens_total{engine="0",model_name="abacus-7m"} 1.2e+03
vllm:prompt_tokens_cached_total{engine="0",model_name="abacus-7m"} 200.0
vllm:generation_tokens_total{engine="0",model_name="abacus-7m"} 77.0
vllm:cache_config_info{block_size="32",cache_dtype="auto"} 1.0
"""


@pytest.fixture
def nobody() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def opened(url: str, **options: Any) -> None:
    async with OpenAIEngine(url, **options):
        pass


async def ask(reply: Reply, request: Request = REQUEST) -> list[Delta]:
    """What the client makes of a server's answer to one request."""
    async with (
        Stub({COMPLETIONS: reply}) as stub,
        OpenAIEngine(stub.url) as engine,
        aclosing(engine.stream(request)) as deltas,
    ):
        return [delta async for delta in deltas]


# Opening -------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_named_with_the_cure(nobody: str) -> None:
    with pytest.raises(EngineUnreachable, match=rf"{nobody}: start one \(vllm serve MODEL\)"):
        await opened(nobody)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_says_how_to_set_another(status: int) -> None:
    refusal = Reply({"error": {"message": "wrong key"}}, status=status)
    async with Stub({"GET /v1/models": refusal}) as stub:
        with pytest.raises(EngineRefused, match=rf"API key \({status}\).*api_key=\.\.\."):
            await opened(stub.url, api_key="secret")
        assert "authorization: bearer secret" in stub.heads[0].lower()


async def test_an_unknown_model_names_the_nearest() -> None:
    async with Stub({}) as stub:
        with pytest.raises(UnknownName, match="did you mean 'abacus-7m'") as error:
            await opened(stub.url, model="abacus-8m")
    assert error.value.choices == ["abacus-7m"]


@pytest.mark.parametrize(
    "models",
    [
        pytest.param(Reply({"data": []}), id="no-models"),
        pytest.param(Reply({"hello": "world"}), id="other-json"),
        pytest.param(Reply("<html>Welcome</html>"), id="a-web-page"),
        pytest.param(Reply("Welcome"), id="no-json"),
        pytest.param(Reply("gone", status=404), id="not-found"),
    ],
)
async def test_what_is_no_openai_server_is_told_apart(models: Reply) -> None:
    async with Stub({"GET /v1/models": models}) as stub:
        with pytest.raises(EngineRefused, match="is this an OpenAI-compatible server"):
            await opened(stub.url)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", ""])
async def test_a_url_needs_a_scheme(url: str) -> None:
    with pytest.raises(ConfigError, match="must start with http"):
        OpenAIEngine(url)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_a_url_may_end_in_the_api_version(ending: str) -> None:
    async with Stub({}) as stub, OpenAIEngine(stub.url + ending) as engine:
        assert (engine.model, engine.context) == ("abacus-7m", 1024)


async def test_an_engine_that_is_not_open_says_so() -> None:
    async with Stub({}) as stub:
        engine = OpenAIEngine(stub.url)
        with pytest.raises(EngineError, match="not open"):
            await complete(engine, REQUEST)
        async with engine:
            pass
        with pytest.raises(EngineError, match="not open"):
            await complete(engine, REQUEST)


# Asking and reading --------------------------------------------------------------------------


async def test_a_request_is_sent_as_tokens_with_all_its_settings() -> None:
    request = Request(
        tokens=(5, 6, 7),
        max_tokens=20,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop=("END",),
        stop_token_ids=(4,),
        seed=11,
        chunk=8,
        priority=-2,
        logprobs=True,
    )
    routes = {COMPLETIONS: events(chunk("a", [9], "length"))}
    async with Stub(routes) as stub, OpenAIEngine(stub.url) as engine:
        await complete(engine, request)
        await complete(engine, REQUEST)
    full, plain = stub.bodies
    expected = {
        "model": "abacus-7m",
        "prompt": [5, 6, 7],
        "max_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stop": ["END"],
        "stop_token_ids": [4],
        "seed": 11,
        "stream_interval": 8,
        "priority": -2,
        "logprobs": 0,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert full == expected
    assert plain["max_tokens"] == 20
    assert plain["stream_interval"] == 16  # few tokens are lost where such a request is aborted
    assert not {"seed", "stop", "logprobs"} & {key for key, value in plain.items() if value}


async def test_chunks_and_the_usage_after_them_become_deltas() -> None:
    stream = events(chunk("a ", [9]), chunk("b", [10, 11]), chunk("", [1], "stop"), usage(3, 4, 2))
    whole = Delta(token_ids=(9, 10, 11), text="a b", count=4, finish_reason="stop", cached=2)
    assert await ask(stream) == [whole]
    assert await ask(stream, Request(tokens=(5,), max_tokens=20, chunk=2)) == [
        Delta(token_ids=(9,), text="a ", count=1),
        Delta(token_ids=(10, 11), text="b", count=2),
        Delta(count=1, finish_reason="stop", cached=2),
    ]


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason", "kept"),
    [
        pytest.param("stop", None, (8, 9), id="end-of-text"),
        pytest.param("stop", 1, (8, 9), id="another-end-of-text"),
        pytest.param("stop", "END", (8, 9, 1), id="stop-text"),
        pytest.param("length", None, (8, 9, 1), id="cut"),
    ],
)
async def test_only_an_end_of_text_token_is_left_out(
    finish_reason: str, stop_reason: str | int | None, kept: tuple[int, ...]
) -> None:
    last = chunk("x", [8, 9, 1], finish_reason, stop_reason=stop_reason)
    assert await ask(events(last)) == [
        Delta(token_ids=kept, text="x", count=3, finish_reason=finish_reason)  # type: ignore[arg-type]
    ]


async def test_log_probabilities_are_summed_over_the_chunks() -> None:
    parts = [
        chunk("a", [9], logprobs={"token_logprobs": [-0.5]}),
        chunk("b", [8, 7], "length", logprobs={"token_logprobs": [-0.25, None]}),
    ]
    request = Request(tokens=(5,), max_tokens=3, chunk=1, logprobs=True)
    *others, last = await ask(events(*parts), request)
    assert [delta.logprob for delta in others] == [None]
    assert last.logprob == -0.75


@pytest.mark.parametrize("size", [0, 1])
async def test_an_abort_keeps_what_had_arrived(size: int) -> None:
    held = events(chunk("a", [9]), chunk("b", [8]), missing=99, hold=True)
    request = Request(tokens=(5,), max_tokens=20, chunk=size)
    async with Stub({COMPLETIONS: held}) as stub, OpenAIEngine(stub.url) as engine:
        reading = asyncio.ensure_future(complete(engine, request))
        async with asyncio.timeout(10):
            await stub.answered.wait()
        for _ in range(1000):  # the answer is on its way through this very event loop
            await asyncio.sleep(0)
        await engine.abort(request)
        done = await reading
    assert done.finish_reason == "terminated"
    assert (done.token_ids, done.text, done.tokens) == ([9, 8], "ab", 2)


# Failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        pytest.param(
            events(chunk("a", None), chunk("", None, "stop")),
            EngineRefused,
            "does not return token ids.*vllm serve",
            id="no-token-ids",
        ),
        pytest.param(
            events(chunk("a", [9]), missing=500), EngineDied, "connection to .* broke", id="broken"
        ),
        pytest.param(
            events(chunk("a", [9])), EngineDied, "without a finish reason", id="ended-early"
        ),
        pytest.param(
            events(chunk("a", [9]), {"error": {"message": "out of memory"}}),
            EngineDied,
            "out of memory",
            id="error-in-the-stream",
        ),
        pytest.param(
            Reply({"error": {"message": "top_k is odd"}}, status=400),
            EngineRefused,
            "answered 400.*top_k is odd",
            id="bad-request",
        ),
        pytest.param(
            Reply({"error": {"message": "no"}}, status=401),
            EngineRefused,
            "refused the API key",
            id="key",
        ),
        pytest.param(
            Reply("data: {broken\n\n"), EngineError, "sent what cannot be read", id="no-json"
        ),
        pytest.param(
            events({"choices": [{"text": "a", "token_ids": 7}]}),
            EngineError,
            "sent what cannot be read",
            id="odd-json",
        ),
    ],
)
async def test_a_failed_request_raises_in_its_reader(
    reply: Reply, error: type[DynasorError], message: str
) -> None:
    with pytest.raises(error, match=message):
        await ask(reply)


async def test_tokens_that_came_before_the_break_were_delivered() -> None:
    broken = events(chunk("a", [9]), chunk("b", [8]), missing=500)
    async with Stub({COMPLETIONS: broken}) as stub, OpenAIEngine(stub.url) as engine:
        deltas = engine.stream(Request(tokens=(5,), max_tokens=9, chunk=1))
        assert (await anext(deltas)).token_ids == (9,)
        assert (await anext(deltas)).token_ids == (8,)
        with pytest.raises(EngineDied):
            await anext(deltas)


async def test_closing_the_engine_ends_what_runs() -> None:
    held = events(chunk("a", [9]), missing=99, hold=True)
    async with Stub({COMPLETIONS: held}) as stub:
        async with OpenAIEngine(stub.url) as engine:
            deltas = engine.stream(Request(tokens=(5,), max_tokens=9, chunk=1))
            assert (await anext(deltas)).token_ids == (9,)
        with pytest.raises(EngineDied, match="closed while requests were running"):
            await anext(deltas)


async def test_a_server_that_goes_away_is_reported_by_every_call() -> None:
    calls: list[Callable[[OpenAIEngine], Any]] = [
        lambda engine: engine.encode("a"),
        lambda engine: engine.load(),
        lambda engine: complete(engine, REQUEST),
    ]
    async with Stub({}) as stub, OpenAIEngine(stub.url) as engine:
        await stub.__aexit__()
        for call in calls:
            with pytest.raises((EngineUnreachable, EngineDied), match=stub.url):
                await call(engine)


# Text and load -------------------------------------------------------------------------------


async def test_a_server_that_does_not_tokenise_asks_for_a_tokenizer() -> None:
    async with Stub({}) as stub, OpenAIEngine(stub.url) as engine:
        for call in (engine.encode("a"), engine.decode([1]), engine.render(QUESTION)):
            with pytest.raises(ConfigError, match=r"no /(de)?tokenize: .*tokenizer=\.\.\."):
                await call


async def test_a_server_that_tokenises_is_asked_for_it() -> None:
    routes = {
        "POST /tokenize": Reply({"tokens": [4, 5]}),
        "POST /detokenize": Reply({"prompt": "ab"}),
    }
    async with Stub(routes) as stub, OpenAIEngine(stub.url) as engine:
        assert await engine.encode("ab") == [4, 5]
        assert await engine.decode([4, 5]) == "ab"
        assert await engine.render(QUESTION, thinking=True) == [4, 5]
    encode, decode, render = stub.bodies
    assert encode == {"model": "abacus-7m", "prompt": "ab", "add_special_tokens": False}
    assert decode == {"model": "abacus-7m", "tokens": [4, 5]}
    assert render["messages"] == QUESTION
    assert render["chat_template_kwargs"] == {"enable_thinking": True}


async def test_a_local_tokenizer_serves_where_the_server_has_none() -> None:
    pytest.importorskip("transformers")
    async with Stub({}) as stub, OpenAIEngine(stub.url, tokenizer=str(model_path())) as engine:
        plain = await engine.render(QUESTION)
        assert await engine.decode(await engine.encode("So I get 12.")) == "So I get 12."
        assert "How many pens has Noah?" in await engine.decode(plain)
        assert await engine.render(QUESTION, thinking=True) != plain
    assert not stub.bodies


async def test_a_tokenizer_folder_with_nothing_in_it_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    async with Stub({}) as stub:
        with pytest.raises(ConfigError, match=f"tokenizer: nothing to load at '{tmp_path}'"):
            await opened(stub.url, tokenizer=str(tmp_path))


@pytest.mark.parametrize(
    ("metrics", "load", "block"),
    [
        pytest.param(
            {"GET /metrics": Reply(METRICS)},
            Load(running=5, waiting=4, kv_usage=0.25, generated=77, prompt_computed=1000),
            32,
            id="vllm",
        ),
        pytest.param({}, Load(), 16, id="none"),
        pytest.param({"GET /metrics": Reply("up 1\n")}, Load(), 16, id="other"),
    ],
)
async def test_the_load_is_read_from_vllms_metrics(
    metrics: dict[str, Reply], load: Load, block: int
) -> None:
    async with Stub(metrics) as stub, OpenAIEngine(stub.url) as engine:
        assert engine.block == block
        assert await engine.load() == load


# The real server -----------------------------------------------------------------------------


async def test_the_server_and_the_engine_in_this_process_agree_on_every_token(
    vllm_engine: VllmEngine, vllm_server: str
) -> None:
    async with OpenAIEngine(vllm_server) as server:
        assert server.model == vllm_engine.model
        assert (server.context, server.block) == (vllm_engine.context, vllm_engine.block)
        for thinking in (False, True):
            tokens = await server.render(QUESTION, thinking=thinking)
            assert tokens == await vllm_engine.render(QUESTION, thinking=thinking)
            request = Request(tokens=tuple(tokens), max_tokens=60, temperature=0, logprobs=True)
            there, here = await complete(server, request), await complete(vllm_engine, request)
            assert there.token_ids == here.token_ids
            assert (there.text, there.tokens) == (here.text, here.tokens)
            assert there.logprob == pytest.approx(here.logprob, abs=1e-3)
