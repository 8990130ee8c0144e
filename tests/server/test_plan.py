"""What a request asks for, field by field: which setting it becomes, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dynasor_graph.algorithms import ALGORITHMS
from dynasor_graph.executor import Context
from dynasor_graph.server import Limits, Offer
from dynasor_graph.server.effort import EFFORTS, knob_of
from dynasor_graph.server.plan import DIRECT, plan
from dynasor_graph.server.refusal import Refusal, refused_fields
from dynasor_graph.server.requests import Asked, ChatRequest, CompletionRequest

OFFER = Offer(model="m", reward="r")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "6 * 7?"}]}


def context(offer: Offer = OFFER, **fields: Any) -> Context:
    (job,) = plan(ChatRequest.model_validate({**CHAT, **fields}), offer, tenant="")
    return job.context


def at(context: Context, path: str) -> Any:
    value: Any = context
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("fields", "path", "value"),
    [
        ({"temperature": 0.1}, "sampling.temperature", 0.1),
        ({"temperature": 0}, "sampling.temperature", 0),
        ({"top_p": 0.5}, "sampling.top_p", 0.5),
        ({"top_k": 5}, "sampling.top_k", 5),
        ({"top_k": -1}, "sampling.top_k", 0),
        ({"seed": -3}, "sampling.seed", -3),
        ({"stop": "END"}, "sampling.stop", ("END",)),
        ({"stop": ["a", "b"]}, "sampling.stop", ("a", "b")),
        ({"max_tokens": 9}, "sampling.max_tokens", 9),
        ({"model": "m@cot"}, "sampling.max_tokens", 4096),
        ({"model": "m@cot", "temperature": 0.1}, "sampling.max_tokens", 4096),
        ({"max_completion_tokens": 9}, "budget.tokens", 9),
        ({}, "budget.seconds", 600),
        ({}, "policy", "certaindex"),
        ({"model": "m@direct"}, "branches", 1),
        ({"x_dynasor": {"branches": 3}}, "branches", 3),
        ({"x-dynasor": {"branches": 3}}, "branches", 3),
        ({"x_dynasor": {"policy": "beta:confidence=0.9"}}, "policy", "beta:confidence=0.9"),
        ({"x_dynasor": {"policy": {"rule": "beta"}}}, "policy", {"rule": "beta"}),
        ({"x_dynasor": {"answers": "choice:letters=AB"}}, "answers.letters", "AB"),
        ({"x_dynasor": {"budget": {"seconds": 2}}}, "budget.seconds", 2),
        (
            {"x_dynasor": {"budget": {"concurrency": 2}}, "max_completion_tokens": 9},
            "budget.tokens",
            9,
        ),
        ({"x_dynasor": {"algorithm": "cot", "interval": 8}}, "interval", 8),
        ({"model": "m@rebase"}, "reward", "r"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "thinking", True),
        ({"reasoning_effort": "none"}, "branches", 1),
        ({"reasoning_effort": "none"}, "thinking", False),
        ({"reasoning_effort": "low"}, "branches", 5),
        ({"reasoning_effort": "medium"}, "branches", 10),
        ({"reasoning_effort": "high"}, "branches", 20),
        ({"reasoning_effort": "xhigh"}, "branches", 40),
        ({"model": "m@cot", "reasoning_effort": "low"}, "sampling.max_tokens", 1024),
        ({"model": "m@mcts", "reasoning_effort": "low"}, "iterations", 4),
        ({"model": "m@rebase", "reasoning_effort": "minimal"}, "width", 4),
        ({"model": "m@direct", "reasoning_effort": "low"}, "thinking", True),
        ({"model": "m@direct", "reasoning_effort": "none"}, "thinking", False),
        ({"stream": True}, "stream_tokens", 8),
        ({"stream": False}, "stream_tokens", 0),
    ],
    ids=str,
)
def test_a_field_becomes_a_setting(fields: dict[str, Any], path: str, value: Any):
    assert at(context(**fields), path) == value


def test_tools_reach_the_settings_and_none_is_none():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert list(context(tools=tools).tools) == tools
    assert context(tools=tools, tool_choice="none").tools == ()


def test_what_the_operator_set_holds_until_a_request_says_otherwise():
    settings = {"policy": "fixed", "branches": 4, "sampling": {"temperature": 0.2}, "system": "Hi."}
    offer = Offer(model="m", settings=settings)
    plain = context(offer)
    assert (plain.policy, at(plain, "branches"), plain.system) == ("fixed", 4, "Hi.")
    assert plain.sampling.temperature == 0.2
    cot = context(offer, model="m@cot")
    assert (cot.policy, cot.system) == ("probe-consistency", "Hi.")
    assert (cot.sampling.temperature, cot.sampling.max_tokens) == (0.2, 4096)
    assert at(context(offer, reasoning_effort="medium"), "branches") == 2
    assert context(offer, temperature=1).sampling.temperature == 1


def test_every_effort_is_a_setting_that_every_algorithm_takes():
    for name in [DIRECT, *ALGORITHMS]:
        for effort in EFFORTS:
            made = context(model=f"m@{name}", reasoning_effort=effort)
            knob = knob_of(type(made))
            assert knob is None or at(made, knob) >= 1


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "n"}, 404, "model"),
        ({"model": "n@cot"}, 404, "model"),
        ({"model": "m@nothing"}, 404, "model"),
        ({"model": "@cot"}, 404, "model"),
        ({"x_dynasor": {"algorithm": "nothing"}}, 400, "x_dynasor.algorithm"),
        ({"x_dynasor": {"algorithm": ["cot"]}}, 400, "x_dynasor.algorithm"),
        ({"model": "m@cot", "x_dynasor": {"algorithm": "rebase"}}, 400, "x_dynasor.algorithm"),
        ({"x_dynasor": {"nothing": 1}}, 400, "x_dynasor"),
        ({"x_dynasor": {"branches": 0}}, 400, "x_dynasor"),
        ({"x_dynasor": {"branches": 257}}, 400, "x_dynasor.branches"),
        ({"x_dynasor": {"policy": "nothing"}}, 400, "x_dynasor"),
        ({"x_dynasor": {"policy": "probe-consistency"}}, 400, "x_dynasor"),
        ({"x_dynasor": {"policy": "/etc/secret.json"}}, 400, "x_dynasor.policy"),
        ({"x_dynasor": {"policy": "beta | ../x.JSON"}}, 400, "x_dynasor.policy"),
        ({"x_dynasor": {"policy": {"rule": "as-needed", "policy": "x.json"}}}, 400, "x_dynasor.policy"),
        ({"x_dynasor": {"policy": {"rule": "all-of", "policies": ["x.json"]}}}, 400, "x_dynasor.policy"),
        ({"x_dynasor": {"answers": "embedding:model=/etc"}}, 400, "x_dynasor.answers"),
        ({"x_dynasor": {"answers": '{"kind": "embedding", "model": "/etc"}'}}, 400, "x_dynasor.answers"),
        ({"x_dynasor": {"answers": {"kind": "embedding", "device": "cuda"}}}, 400, "x_dynasor.answers"),
        ({"x_dynasor": {"answers": {"kind": "behaviour", "inputs": [""]}}}, 400, "x_dynasor.answers"),
        ({"x_dynasor": {"answers": {"kind": ["embedding"]}}}, 400, "x_dynasor"),
        ({"x_dynasor": {"engine": "other"}}, 400, "x_dynasor.engine"),
        ({"x_dynasor": {"account": "run"}}, 400, "x_dynasor.account"),
        ({"x_dynasor": {"reward": "r"}}, 400, "x_dynasor.reward"),
        ({"x_dynasor": {"shadow": ["beta"]}}, 400, "x_dynasor.shadow"),
        ({"x_dynasor": {"tenant": "x"}}, 400, "x_dynasor.tenant"),
        ({"x_dynasor": {"sampling": 1}}, 400, "x_dynasor.sampling"),
        ({"x_dynasor": {"budget": {"seconds": 601}}}, 400, "x_dynasor.budget.seconds"),
        ({"x_dynasor": {"budget": {"concurrency": 999}}}, 400, "x_dynasor.budget.concurrency"),
        ({"x_dynasor": {"sampling": {"seed": 1}}, "seed": 1}, 400, "seed"),
        ({"x_dynasor": {"branches": 3}, "reasoning_effort": "none"}, 400, "reasoning_effort"),
        ({"x_dynasor": {"branches": 3}, "reasoning_effort": "low"}, 400, "reasoning_effort"),
        ({"n": 17}, 400, "n"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "messages"),
    ],
    ids=str,
)  # fmt: skip
def test_what_there_is_not_or_is_too_much_is_refused(fields, status: int, param: str):
    with pytest.raises(Refusal) as refused:
        context(**fields)
    assert (refused.value.status, refused.value.param) == (status, param)


def test_no_file_is_opened_for_a_client(monkeypatch: pytest.MonkeyPatch):
    def opened(path: Any) -> Any:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("dynasor_graph.policies.named._in_file", opened)
    for policy in ("x.json", "beta | x.json", "as-needed:policy=x.json", {"rule": "x.json"}):
        with pytest.raises(Refusal):
            context(x_dynasor={"policy": policy})


UNSUPPORTED = {
    "frequency_penalty": 0.5,
    "presence_penalty": -1,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 3,
    "response_format": {"type": "json_object"},
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "store": True,
    "modalities": ["text", "audio"],
    "audio": {"voice": "x"},
    "prediction": {},
    "functions": [{}],
    "function_call": "auto",
    "service_tier": "flex",
    "web_search_options": {},
    "verbosity": "low",
    "prompt_cache_key": "x",
    "safety_identifier": "x",
}


def refused(kind: type[Asked], **fields: Any) -> Refusal:
    with pytest.raises(ValidationError) as error:
        kind.model_validate(fields)
    return refused_fields(error.value.errors())


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_honoured_is_refused_by_name_and_may_say_that_it_is_not_wanted(name: str):
    refusal = refused(ChatRequest, **CHAT, **{name: UNSUPPORTED[name]})
    assert (refusal.status, refusal.param) == (400, name)
    assert refusal.code == "unsupported_parameter"
    assert "leave it out" in refusal.message
    ChatRequest.model_validate({**CHAT, name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frequency_penalty", 0), ("presence_penalty", 0.0), ("logit_bias", {}), ("logprobs", False),
        ("top_logprobs", 0), ("response_format", {"type": "text"}), ("tool_choice", "auto"),
        ("parallel_tool_calls", True), ("store", False), ("modalities", ["text"]),
        ("service_tier", "auto"),
    ],
)  # fmt: skip
def test_what_asks_for_what_happens_anyway_is_taken(name: str, value: Any):
    assert context(**{name: value}) == context()


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"foo": 1}, "foo", "no such field"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"temperature": True}, "temperature", "valid number"),
        ({"temperature": float("nan")}, "temperature", "less than or equal"),
        ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "messages.0.role", "'system'"),
        ({"messages": [{"role": "user"}]}, "messages.0", "content is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None, "type"),
        ({"stream_options": {"include_usage": True}}, None, "only together with stream=true"),
        ({"x_dynasor": {}, "x-dynasor": {}}, None, "one field"),
        ({"user": "a\ud800"}, None, "Unicode"),
        ({"metadata": {"a": 1}}, "metadata.a", "valid string"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_with_field_and_cure(fields, param: str | None, says: str):
    refusal = refused(ChatRequest, **{**CHAT, **fields})
    assert refusal.status == 400
    assert says in refusal.message
    if param is not None:
        assert refusal.param == param


@pytest.mark.parametrize("depth", [10, 100])
def test_deep_bodies_are_refused_before_anything_recurses(depth: int):
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    if depth < 32:
        ChatRequest.model_validate({**CHAT, "x_dynasor": value})
    else:
        assert "deeper" in refused(ChatRequest, **CHAT, x_dynasor=value).message


def test_what_is_quoted_is_short():
    refusal = refused(ChatRequest, **{**CHAT, "temperature": "x" * 10_000})
    assert len(refusal.message) < 300
    assert len(Refusal(400, "x" * 10_000, code="c").message) == 1000


def test_prompts_are_programs_of_their_own():
    asked = CompletionRequest.model_validate({"model": "m", "prompt": ["a", "b"], "n": 2})
    jobs = plan(asked, OFFER, tenant="t", seconds=3)
    assert [job.question.text for job in jobs] == ["a", "a", "b", "b"]
    assert len({job.question.id for job in jobs}) == 4
    assert {(j.context.raw_prompt, j.context.tenant, j.context.budget.seconds) for j in jobs} == {
        (True, "t", 3)
    }


@pytest.mark.parametrize("field", ["suffix", "echo", "best_of", "logprobs"])
def test_old_fields_of_completions_are_refused(field: str):
    refusal = refused(CompletionRequest, model="m", prompt="x", **{field: 3})
    assert (refusal.param, refusal.code) == (field, "unsupported_parameter")


def test_limits_that_the_operator_set_are_those_of_who_names_none():
    offer = Offer(model="m", limits=Limits(tokens=500, seconds=7))
    made = context(offer)
    assert (made.budget.tokens, made.budget.seconds) == (500, 7)
    with pytest.raises(Refusal, match="allows 500"):
        context(offer, max_completion_tokens=501)
