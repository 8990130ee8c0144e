"""The server on real vLLM: clients that leave, counted where it matters: in the engine."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import httpx
import pytest

from dynasor_graph.abacus import questions
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.server import Limits, Offer
from tests.server.conftest import serving, soon

pytestmark = pytest.mark.vllm

CLIENTS = 16


def asked(number: int, **fields: Any) -> dict[str, Any]:
    text = questions(1, seed=number, steps=(6, 8))[0].question
    return {"model": "abacus-7m", "messages": [{"role": "user", "content": text}], **fields}


def test_of_16_clients_half_leave_and_the_engine_has_nothing_left(vllm_engine: VllmEngine):
    draw = random.Random(1)
    offer = Offer(model="abacus-7m", limits=Limits(concurrency=CLIENTS))

    async def one(client: httpx.AsyncClient, url: str, at: int) -> httpx.Response | None:
        # All branches of a program that goes to its cap: nobody is through before somebody leaves.
        fields = {"stream": at % 4 < 2, "x_dynasor": {"policy": "fixed", "branches": 12}}
        stays = at % 2 == 0
        with suppress(httpx.TimeoutException, TimeoutError):
            async with asyncio.timeout(250 if stays else draw.uniform(0.05, 1.0)):
                return await client.post(
                    f"{url}/v1/chat/completions", json=asked(at, **fields), timeout=250
                )
        return None

    async def all_(url: str) -> list[httpx.Response | None]:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=CLIENTS)) as client:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(client, url, at)) for at in range(CLIENTS)]
            return [task.result() for task in tasks]

    with serving(vllm_engine, offer=offer) as served:
        replies = asyncio.run(all_(served.url))
        assert sum(reply is None for reply in replies) == CLIENTS // 2
        for reply in replies[::2]:
            assert reply is not None
            assert reply.status_code == 200

        assert soon(lambda: served.in_engine() == 0)
        assert served.service.running == 0


@pytest.mark.parametrize("model", ["abacus-7m", "abacus-7m@direct", "abacus-7m@cot"])
def test_a_stream_and_usage_of_the_real_engine(vllm_engine: VllmEngine, model: str):
    with serving(vllm_engine, offer=Offer(model="abacus-7m")) as served:
        before = asyncio.run(vllm_engine.load())
        fields = asked(3, model=model, seed=1, temperature=0.5)
        whole = httpx.post(f"{served.url}/v1/chat/completions", json=fields, timeout=100).json()
        now = asyncio.run(vllm_engine.load())
        assert whole["usage"]["completion_tokens"] == now.generated - before.generated
        text = httpx.post(
            f"{served.url}/v1/chat/completions", json={**fields, "stream": True}, timeout=100
        ).text
        assert text.endswith("data: [DONE]\n\n")
        assert whole["choices"][0]["message"]["content"]
