"""What clients get: replies, streams, errors, and what the public servers of the paper got wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from dynasor_graph.engine import FakeEngine
from dynasor_graph.reward import FunctionReward, forget_reward, register_reward
from dynasor_graph.server import Keys, Limits, Offer
from tests.server.conftest import ASKED, CALL, LONG, Client, asking, offered, script

pytestmark = pytest.mark.anyio


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream, which has to end as streams do."""
    *rows, done, end = text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(row.removeprefix("data: ")) for row in rows if row.startswith("data: ")]


def said(rows: list[dict[str, Any]], name: str = "content") -> str:
    return "".join(choice["delta"].get(name) or "" for row in rows for choice in row["choices"])


async def until(what: Callable[[], bool]) -> None:
    """Let the others run until it is true."""
    for _ in range(10_000):
        if what():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come true")


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# Replies ---------------------------------------------------------------------------------------


async def test_a_reply_tells_what_the_program_came_to(client: Client):
    reply = (await client.chat()).json()
    told = reply["x_dynasor"]
    assert told["certaindex"] == 1.0
    assert (told["stop_reason"], told["rounds"], told["branches"]) == ("certain", 1, 5)
    saved = told["decision"]["saved"]
    spent = told["ledger"]
    assert saved == 15 * len("It is \\boxed{42}.") + 15
    assert told["tokens_saved"] == saved - spent.get("terminated", 0)


async def test_usage_is_what_the_engine_counted(client: Client):
    for model in ("fake", "fake@cot", "fake@direct"):
        before = await client.engine.load()
        usage = (await client.chat(model=model)).json()["usage"]
        now = await client.engine.load()
        assert usage["completion_tokens"] == now.generated - before.generated
        details = usage["completion_tokens_details"]
        assert usage["completion_tokens"] - details["reasoning_tokens"] == len("It is \\boxed{42}.")
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert usage["prompt_tokens"] - cached == now.prompt_computed - before.prompt_computed


async def test_choices_are_programs_of_their_own(client: Client):
    reply = (await client.chat(n=3, seed=5, model="fake@direct")).json()
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert len({told["program"] for told in reply["x_dynasor"]["programs"]}) == 3
    assert len({request.seed for request in client.engine.requests}) == 3


async def test_the_same_seed_draws_the_same_branches(client: Client):
    for _ in range(2):
        await client.chat(seed=5)
    seeds = [request.seed for request in client.engine.requests]
    half = len(seeds) // 2
    assert seeds[:half] == seeds[half:]
    assert len(set(seeds)) == half > 1


async def test_metadata_comes_back(client: Client):
    assert (await client.chat(metadata={"run": "7"})).json()["metadata"] == {"run": "7"}


async def test_a_question_without_an_answer_still_gets_a_reply(client: Client):
    reply = (await client.chat(messages=asked("A poem, please."))).json()
    assert reply["choices"][0]["message"]["content"] == "Roses are red."
    assert reply["x_dynasor"]["answer"] is None


async def test_thoughts_are_apart_from_the_answer(client: Client):
    (choice,) = (await client.chat(model="fake@cot")).json()["choices"]
    assert choice["message"]["reasoning_content"] == "6 sevens."
    assert choice["message"]["content"] == "It is \\boxed{42}."


async def test_branches_that_call_a_tool_vote_on_the_call(client: Client):
    tools = [{"type": "function", "function": {"name": "weather"}}]
    reply = (await client.chat(messages=asked("What is the weather?"), tools=tools)).json()
    (choice,) = reply["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "weather"
    assert reply["x_dynasor"]["certaindex"] == 1.0
    # Told not to call, the model is not given the tools, and what it writes is text.
    none = await client.chat(messages=asked("The weather?"), tools=tools, tool_choice="none")
    assert CALL in none.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        pytest.param({"model": "fake@direct", "max_tokens": 20}, "length", id="one branch, cut"),
        pytest.param({"max_tokens": 20}, "length", id="every branch cut"),
        pytest.param({"max_completion_tokens": 20}, "length", id="budget for less than a branch"),
        pytest.param({"model": "fake@cot", "max_tokens": 20}, "length", id="thought cut"),
        pytest.param({"model": "fake@direct"}, "length", id="the server's own limit"),
        pytest.param({"model": "fake@direct", "max_tokens": 8000}, "stop", id="room enough"),
    ],
)
async def test_the_reason_to_finish_is_why_the_text_ends(client: Client, fields, finish):
    reply = (await client.chat(messages=asked("A long one."), **fields)).json()
    assert reply["choices"][0]["finish_reason"] == finish
    streamed = await client.chat(messages=asked("A long one."), stream=True, **fields)
    assert chunks(streamed.text)[-1]["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("model", ["fake", "fake@direct", "fake@cot"])
async def test_no_more_is_generated_than_was_asked_for(client: Client, model: str):
    reply = (await client.chat(model=model, max_completion_tokens=100)).json()
    assert reply["usage"]["completion_tokens"] <= 100


async def test_a_deadline_gives_the_best_answer_so_far(client: Client):
    client.engine.gate.clear()
    reply = (await client.chat(x_dynasor={"budget": {"seconds": 0.05}})).json()
    assert reply["x_dynasor"]["stop_reason"] == "deadline"
    late = await client.post(
        "/v1/chat/completions", json=ASKED, headers={"x-dynasor-deadline": "0.05"}
    )
    assert late.json()["x_dynasor"]["stop_reason"] == "deadline"


async def test_who_kept_its_slo_is_counted(client: Client):
    for slo in (60.0, 60.0, 1e-9, None):
        budget = {"concurrency": 4} | ({"slo": slo} if slo else {})
        assert (await client.chat(x_dynasor={"budget": budget})).status_code == 200
    client.engine.kill()
    assert (await client.chat(x_dynasor={"budget": {"slo": 60.0}})).status_code == 503
    page = (await client.get("/metrics")).text
    assert 'dynasor_slo_total{kept="yes"} 2.0' in page
    assert 'dynasor_slo_total{kept="no"} 2.0' in page  # too late, and failed


# Streams ---------------------------------------------------------------------------------------


async def test_one_chain_streams_its_text_as_the_content(client: Client):
    rows = chunks((await client.chat(model="fake@direct", stream=True)).text)
    assert said(rows) == "It is \\boxed{42}."
    assert len([row for row in rows if said([row])]) > 3
    assert said(rows, "reasoning_content") == ""
    assert rows[-1]["x_dynasor"]["algorithm"] == "direct"


async def test_a_chain_of_thought_streams_its_thought_and_then_its_answer(client: Client):
    rows = chunks((await client.chat(model="fake@cot", stream=True)).text)
    parts = [
        "reasoning_content" if said([r], "reasoning_content") else "content" for r in rows[1:-1]
    ]
    assert parts == sorted(parts, reverse=True)
    assert (said(rows, "reasoning_content"), said(rows)) == ("6 sevens.", "It is \\boxed{42}.")


async def test_branches_stream_as_reasoning_and_then_the_answer(client: Client):
    rows = chunks((await client.chat(stream=True)).text)
    assert said(rows) == "It is \\boxed{42}."
    assert said(rows, "reasoning_content").startswith("It is \\boxed{42}.")


async def test_a_stream_and_a_whole_reply_say_the_same(client: Client):
    for model in ("fake", "fake@direct", "fake@cot"):
        for text in ("6 * 7?", "A poem.", "héllo", "long"):
            whole = (await client.chat(model=model, messages=asked(text))).json()
            rows = chunks((await client.chat(model=model, messages=asked(text), stream=True)).text)
            assert said(rows) == whole["choices"][0]["message"]["content"]


async def test_choices_stream_side_by_side(client: Client):
    rows = chunks((await client.chat(model="fake@direct", n=3, stream=True)).text)
    for at in range(3):
        mine = [row for row in rows if row["choices"][0]["index"] == at]
        assert said(mine) == "It is \\boxed{42}."
        assert mine[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert mine[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("wanted", [True, False])
async def test_usage_ends_a_stream_if_it_is_asked_for(client: Client, wanted: bool):
    reply = await client.chat(stream=True, stream_options={"include_usage": wanted})
    rows = chunks(reply.text)
    assert ("usage" in rows[-1]) is wanted
    if wanted:
        assert rows[-1]["choices"] == []
        assert rows[-1]["usage"]["completion_tokens"] == sum(
            rows[-2]["x_dynasor"]["ledger"].get(kind, 0) for kind in ("main", "terminated")
        )


async def test_a_raw_completion_is_the_text_as_the_model_writes_it(client: Client):
    whole = (await client.complete(model="fake@direct")).json()
    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["text"] == "It is \\boxed{42}."
    assert bytes(client.engine.requests[0].tokens) == b"6*7="  # no chat template
    streamed = await client.complete(model="fake@direct", stream=True)
    rows = chunks(streamed.text)
    assert "".join(row["choices"][0]["text"] for row in rows) == whole["choices"][0]["text"]
    assert all(row["object"] == "text_completion" for row in rows)


@pytest.mark.parametrize("model", ["fake", "fake@cot"])
async def test_a_raw_completion_of_many_branches_streams_their_text_apart(client: Client, model):
    whole = (await client.complete(model=model)).json()["choices"][0]["text"]
    rows = chunks((await client.complete(model=model, stream=True)).text)
    assert "".join(row["choices"][0]["text"] for row in rows) == whole


async def test_a_silent_stream_says_that_it_is_alive():
    async with asking(heartbeat=0.01) as client:
        client.engine.gate.clear()
        asyncio.get_running_loop().call_later(0.1, client.engine.gate.set)
        text = (await client.chat(stream=True)).text
        assert text.startswith(": still here\n\n")
        assert said(chunks(text)) == "It is \\boxed{42}."


async def test_what_fails_before_the_first_piece_has_a_status_in_a_stream_too():
    async with asking(FakeEngine(script, context=100)) as client:
        refused = await client.chat(messages=asked("x" * 200), stream=True)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"


async def test_what_fails_in_mid_stream_is_an_event():
    async with asking(FakeEngine(script, speed=1)) as client:
        service, run = client.service, client.service.run

        async def dies(job):
            async for item in run(job):
                yield item
                if not isinstance(item, dict) or item["event"] == "text":
                    client.engine.kill()

        service.run = dies  # type: ignore[method-assign]
        reply = await client.chat(model="fake@direct", messages=asked("long"), stream=True)
        assert reply.status_code == 200
        assert chunks(reply.text)[-1]["error"]["code"] == "engine_unavailable"


# What the public servers of the paper get wrong --------------------------------------------------


async def test_every_message_goes_through_the_models_own_template(client: Client):
    chat = [
        {"role": "developer", "content": "Be brief."},
        *asked("My name is Ada."),
        {"role": "assistant", "content": "Hello Ada.", "reasoning_content": "a greeting"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "6 *"}, {"type": "text", "text": "7?"}],
        },
    ]
    await client.chat(model="fake@direct", messages=chat)
    assert bytes(client.engine.requests[0].tokens).decode() == (
        "system: Be brief.\nuser: My name is Ada.\nassistant: Hello Ada.\nuser: 6 *\n7?\nassistant: "
    )


async def test_sampling_reaches_the_engine(client: Client):
    fields = {"temperature": 0.3, "top_p": 0.8, "top_k": 7, "max_tokens": 33, "stop": ["END"]}
    await client.chat(model="fake@direct", **fields)
    (request,) = client.engine.requests
    assert {name: getattr(request, name) for name in fields} == fields | {"stop": ("END",)}


async def test_probes_run_on_the_whole_conversation_and_stay_out_of_the_reply(client: Client):
    long = [{"role": "system", "content": "Be brief."}, *asked("A hard one.")]
    reply = (await client.chat(model="fake@cot", messages=long)).json()
    probes = [r for r in client.engine.requests if b"Oh, I suddenly" in bytes(r.tokens)]
    assert len(probes) >= 3
    assert all(
        bytes(probe.tokens).startswith(b"system: Be brief.\nuser: A hard") for probe in probes
    )
    message = reply["choices"][0]["message"]
    assert "Oh, I suddenly" not in message["content"] + message["reasoning_content"]
    assert reply["x_dynasor"]["stop_reason"] == "certain"
    assert reply["usage"]["completion_tokens_details"]["probe_tokens"] > 0
    assert reply["x_dynasor"]["tokens_saved"] < reply["x_dynasor"]["decision"]["saved"]


async def test_nothing_is_generated_after_the_model_has_ended(client: Client):
    reply = (await client.chat(model="fake@cot")).json()
    assert (
        reply["x_dynasor"]["ledger"]["main"] == len("6 sevens.\n</think>\n\nIt is \\boxed{42}.") + 1
    )


async def test_probes_that_disagree_or_say_nothing_do_not_stop_a_thought():
    turns = iter(range(1000))

    def unsure(prompt: str, request: Any) -> str:
        number = next(turns)
        if "Oh, I suddenly" not in prompt:
            return LONG + "</think> \\boxed{9}"
        return "}" if number % 2 else f"{number}}}"

    async with asking(FakeEngine(unsure, speed=64)) as client:
        told = (await client.chat(model="fake@cot")).json()["x_dynasor"]
        assert told["stop_reason"] == "finished"


async def test_a_request_that_runs_holds_up_no_other(client: Client):
    client.engine.gate.clear()
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(client.chat(stream=True))
        await until(lambda: client.service.running > 0)
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/v1/models")).status_code == 200
        client.engine.gate.set()
    assert slow.result().status_code == 200


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "code"),
    [
        pytest.param("GET", "/v1/nothing", None, 404, "not_found", id="no such path"),
        pytest.param("GET", "/v1/chat/completions", None, 405, "method_not_allowed", id="verb"),
        pytest.param("GET", "/v1/models/gpt-9", None, 404, "model_not_found", id="no such model"),
        pytest.param("POST", "/v1/completions", b"{", 400, "invalid_value", id="no JSON"),
        pytest.param("POST", "/v1/completions", b"[]", 400, "invalid_value", id="no object"),
        pytest.param("POST", "/v1/completions", b"", 400, "invalid_value", id="nothing"),
    ],
)
async def test_errors_have_openais_shape(client: Client, verb, path, body, status, code):
    headers = {"content-type": "application/json"}
    reply = await client.request(verb, path, content=body, headers=headers)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (status, code)
    assert error.keys() == {"message", "type", "param", "code"}


async def test_a_form_of_a_web_page_is_no_request(client: Client):
    body = json.dumps(ASKED).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        reply = await client.post(
            "/v1/chat/completions", content=body, headers={"content-type": kind}
        )
        assert reply.status_code == 400
    assert client.engine.requests == []


async def test_a_server_on_loopback_is_not_reached_under_a_name_of_somebody_elses():
    async with asking(hosts=["localhost"]) as client:
        assert (await client.get("/health")).status_code == 200
        for path in ("/health", "/v1/models"):
            reply = await client.get(path, headers={"host": "evil.example"})
            assert reply.status_code == 400


KEYS = Keys({"ada": "a" * 20, "ben": "b" * 20})


@pytest.mark.parametrize(
    ("path", "needs"),
    [("/v1/models", True), ("/metrics", True), ("/health", False)],
)
async def test_keys_are_asked_for(path: str, needs: bool):
    async with asking(keys=KEYS) as client:
        assert (await client.get(path)).status_code == (401 if needs else 200)
        ours = {"authorization": f"Bearer {'a' * 20}"}
        assert (await client.get(path, headers=ours)).status_code == 200
        refused = await client.post("/v1/chat/completions", json=ASKED)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_request_without_a_key_is_refused_whatever_its_body():
    async with asking(keys=KEYS) as client:
        reply = await client.chat(temperature=9)
        assert reply.status_code in {400, 401}
        assert client.engine.requests == []


async def test_the_key_is_the_tenant_and_else_the_user():
    async with asking(keys=KEYS) as client:
        headers = {"authorization": f"Bearer {'a' * 20}"}
        tenants = told(client)
        await client.post("/v1/chat/completions", json={**ASKED, "user": "x"}, headers=headers)
        assert tenants == {"ada"}
    async with asking() as client:
        tenants = told(client)
        await client.chat(user="x")
        assert tenants == {"x"}


def told(client: Client) -> set[str]:
    """The tenants of all programs that run from now on."""
    tenants: set[str] = set()
    run = client.service.run

    def watched(job):
        tenants.add(job.context.tenant)
        return run(job)

    client.service.run = watched  # type: ignore[method-assign]
    return tenants


@pytest.mark.parametrize(
    ("limits", "fields", "status", "code"),
    [
        pytest.param({"body_bytes": 50}, {}, 413, "request_too_large", id="body"),
        pytest.param({"prompt_tokens": 5}, {}, 400, "context_length_exceeded", id="prompt"),
        pytest.param({"concurrency": 1}, {"n": 2}, 429, "concurrency_limit_exceeded", id="at once"),
        pytest.param({"choices": 1}, {"n": 2}, 400, "limit_exceeded", id="choices"),
    ],
)
async def test_limits_are_kept(limits, fields, status, code):
    async with asking(offer=offered(**limits)) as client:
        reply = await client.chat(**fields)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
        assert client.engine.requests == []
        if status == 429:
            assert int(reply.headers["retry-after"]) >= 1


async def test_a_full_queue_is_told_with_a_time_to_come_back():
    from dynasor_graph.scheduler import Scheduled

    engine = Scheduled(FakeEngine(script), limit=1, bound=1)
    async with asking(engine) as client:
        engine.engine.gate.clear()  # type: ignore[attr-defined]
        first = asyncio.create_task(client.chat(model="fake@direct"))
        second = asyncio.create_task(client.chat(model="fake@direct"))
        await until(lambda: engine.counts.waiting == 1)
        full = await client.chat(model="fake@direct", stream=True)
        assert (full.status_code, full.json()["error"]["code"]) == (429, "overloaded")
        assert int(full.headers["retry-after"]) >= 1
        engine.engine.gate.set()  # type: ignore[attr-defined]
        assert [(await task).status_code for task in (first, second)] == [200, 200]


async def test_an_engine_that_died_is_no_engine(client: Client):
    client.engine.kill()
    reply = await client.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "engine_unavailable")


async def test_prompts_and_answers_are_not_logged_unless_asked(caplog: pytest.LogCaptureFixture):
    for wanted in (False, True):
        caplog.clear()
        with caplog.at_level("DEBUG", logger="dynasor_graph.server"):
            async with asking(log_prompts=wanted) as client:
                await client.chat(messages=asked("sesame 6 * 7?"))
        assert "algorithm=self_consistency" in caplog.text
        assert ("sesame" in caplog.text) is wanted
        assert ("boxed" in caplog.text) is wanted


# Models, health, metrics -------------------------------------------------------------------------


async def test_algorithms_that_need_a_reward_are_offered_where_there_is_one():
    async with asking() as client:
        names = [row["id"] for row in (await client.get("/v1/models")).json()["data"]]
        assert names == ["fake", "fake@direct", "fake@self_consistency", "fake@cot"]
        reply = await client.chat(model="fake@rebase")
        assert reply.status_code == 404
        assert "needs a reward" in reply.json()["error"]["message"]
    register_reward("half", FunctionReward(lambda partial: 0.5))
    try:
        offer = Offer(model="fake", reward="half", limits=Limits())
        async with asking(offer=offer) as client:
            for name in offer.algorithms:
                reply = await client.chat(model=f"fake@{name}", stream=True)
                assert said(chunks(reply.text)) == "It is \\boxed{42}.", name
    finally:
        forget_reward("half")


async def test_metrics_count(client: Client):
    await client.chat()
    await client.chat(temperature=9, x_dynasor={"branches": 10**9})
    await client.chat(x_dynasor={"branches": 10**9})
    page = (await client.get("/metrics")).text
    assert 'dynasor_requests_total{endpoint="chat",status="200"} 1.0' in page
    assert 'dynasor_requests_total{endpoint="chat",status="400"} 1.0' in page
    assert 'dynasor_programs_total{algorithm="self_consistency",stop_reason="certain"} 1.0' in page
    assert "dynasor_programs_running 0.0" in page
    assert 'dynasor_engine{what="running"} 0.0' in page
