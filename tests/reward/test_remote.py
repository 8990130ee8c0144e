"""The client of a reward model's server: what it asks for, and what it makes of bad answers."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from dynasor_graph.errors import (
    ConfigError,
    EngineError,
    EngineRefused,
    EngineUnreachable,
    RewardError,
    UnknownName,
)
from dynasor_graph.reward import Partial, Score
from dynasor_graph.reward.pooling import PoolingReward
from dynasor_graph.reward.remote import RemoteReward
from tests.engine.stub import Reply, Stub
from tests.reward.conftest import partial, solved

pytestmark = pytest.mark.anyio

TAG = "<extra_0>"
PARTIAL = Partial(question="1 + 1?", prompt=(5, 6), tokens=(7,), text="a\nb", ended=True)


def judged(*rows: Sequence[float]) -> Reply:
    """What `/classify` answers, out of order."""
    data = [{"index": index, "probs": list(row)} for index, row in enumerate(rows)]
    return Reply({"data": data[::-1], "usage": {"prompt_tokens": 11}})


def stepped(*rows: Sequence[float]) -> Reply:
    """What `/pooling` answers to one text."""
    item = {"index": 0, "object": "pooling", "data": [list(row) for row in rows]}
    return Reply({"data": [item], "usage": {"prompt_tokens": 11}})


def serving(path: str, reply: Reply) -> Stub:
    return Stub({f"POST {path}": reply})


async def opened(url: str, **options: Any) -> None:
    async with RemoteReward(url, **options):
        pass


# Opening -------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_named_with_the_cure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EngineUnreachable, match=f"no server answers at {url}: start one"):
            await opened(url)


@pytest.mark.parametrize(
    ("reply", "options", "error", "message"),
    [
        pytest.param(
            Reply({}, status=404), {}, EngineRefused,
            "has no /classify: serve a model with a classification head", id="no-head",
        ),
        pytest.param(
            Reply({}, status=401), {}, EngineRefused, r"refused the API key \(401\)", id="key"
        ),
        pytest.param(
            judged([1.0]), {"model": "other"}, UnknownName, "abacus-7m", id="other-model"
        ),
        pytest.param(judged([1, 2, 3]), {}, ConfigError, "has 3 labels", id="three-labels"),
        pytest.param(judged([1], [2]), {}, EngineRefused, "2 judgements of 1", id="too-many"),
        pytest.param(Reply({"data": [{}]}), {}, EngineRefused, "no judgement", id="other-json"),
        pytest.param(Reply("<html>"), {}, EngineRefused, "is this", id="a-web-page"),
    ],
)  # fmt: skip
async def test_what_is_no_reward_model_is_refused_on_opening(
    reply: Reply, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with serving("/classify", reply) as stub:
        with pytest.raises(error, match=message):
            await opened(stub.url, **options)


async def test_a_url_needs_a_scheme() -> None:
    with pytest.raises(ConfigError, match="must start with http"):
        RemoteReward("localhost:8000")


async def test_a_reward_that_is_not_open_says_so() -> None:
    async with serving("/classify", judged([0.0])) as stub:
        reward = RemoteReward(stub.url)
        for _ in range(2):
            with pytest.raises(EngineError, match="not open"):
                await reward.score([PARTIAL])
            async with reward:
                assert reward.name == "abacus-7m"


# Asking and reading --------------------------------------------------------------------------


async def test_a_batch_of_tokens_is_one_request_for_raw_numbers() -> None:
    async with serving("/classify", judged([0.0])) as stub, RemoteReward(stub.url) as reward:
        stub.routes["POST /classify"] = judged([0.0], [math.log(3)])
        found = await reward.score([PARTIAL, PARTIAL])
        assert [one.value for one in found] == pytest.approx([0.5, 0.75])
        assert [one.computed for one in found] == [3, 3]
        assert stub.bodies[-1] == {
            "model": "abacus-7m",
            "use_activation": False,
            "add_special_tokens": False,
            "input": [[5, 6, 7], [5, 6, 7]],
        }


async def test_text_is_a_chat_that_the_server_renders() -> None:
    async with (
        serving("/classify", judged([0.0])) as stub,
        RemoteReward(stub.url, reads="text") as reward,
    ):
        assert await reward.score([PARTIAL] * 2) == [Score(0.5, 11)] * 2
        assert len(stub.bodies) == 3
        assert stub.bodies[-1] == {
            "model": "abacus-7m",
            "use_activation": False,
            "add_generation_prompt": False,
            "messages": [
                {"role": "user", "content": "1 + 1?"},
                {"role": "assistant", "content": "a\nb"},
            ],
        }


async def test_steps_are_tagged_and_judged_each() -> None:
    async with (
        serving("/pooling", stepped()) as stub,
        RemoteReward(stub.url, reads="text", step_tag=TAG, steps="min", normalise="none") as reward,
    ):
        stub.routes["POST /pooling"] = stepped([0, 0.75], [1, 0.25])
        assert await reward.score([PARTIAL]) == [Score(0.25, 11)]
        assert stub.bodies[-1]["messages"][1]["content"] == f"a{TAG}b{TAG}"
        stub.routes["POST /pooling"] = stepped([0, 0.75])
        with pytest.raises(RewardError, match=r"1 steps of 2: .*step_tag_id of '<extra_0>'"):
            await reward.score([PARTIAL])


async def test_what_is_longer_than_the_context_is_not_sent() -> None:
    long = Partial(question="", prompt=(5,) * 1000, tokens=(5,) * 100, text="", ended=False)
    async with serving("/classify", judged([0.0])) as stub, RemoteReward(stub.url) as reward:
        with pytest.raises(RewardError, match=r"1100 tokens .* 1024"):
            await reward.score([PARTIAL, long])
        assert len(stub.bodies) == 1


async def test_what_the_server_refuses_is_told_with_its_address() -> None:
    async with serving("/classify", judged([0.0])) as stub, RemoteReward(stub.url) as reward:
        stub.routes["POST /classify"] = Reply({"error": {"message": "too odd"}}, status=400)
        with pytest.raises(EngineRefused, match=f"{stub.url} answered 400: .*too odd"):
            await reward.score([PARTIAL])


# A real server -------------------------------------------------------------------------------


@pytest.mark.vllm
@pytest.mark.parametrize("reads", ["tokens", "text"])
async def test_a_server_says_what_the_model_in_this_process_says(
    reward_server: str, pooling_reward: PoolingReward, reads: Any
) -> None:
    here = PoolingReward(pooling_reward._pooler, reads=reads)
    parts = [partial(one.question, one.right, ended=True) for one in solved(4)]
    async with RemoteReward(reward_server, reads=reads) as there:
        found = [one.value for one in await there.score(parts)]
    assert found == pytest.approx([one.value for one in await here.score(parts)], abs=2e-3)


@pytest.mark.vllm
async def test_a_server_without_a_head_is_refused(vllm_server: str) -> None:
    with pytest.raises(EngineRefused, match="has no /classify: serve a model"):
        await opened(vllm_server)
