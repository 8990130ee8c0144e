"""Clients that leave, and a server that stops: nothing goes on running, and no answer is lost."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress

import httpx
import pytest

from dynasor_graph.engine import FakeEngine
from dynasor_graph.types import Delta, Request
from tests.server.conftest import ASKED, Served, offered, script, serving, soon


def slow() -> FakeEngine:
    """An engine that is held: what it is asked stays where it is."""
    engine = FakeEngine(script, speed=1)
    engine.gate.clear()
    return engine


class HeldOnceHeard(FakeEngine):
    """An engine that is held as soon as a piece of a text has been read."""

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        async with aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                self.gate.clear()
                yield delta


def post(served: Served, **fields) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/chat/completions", json={**ASKED, **fields}, timeout=30)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["fake", "fake@cot", "fake@direct"])
def test_a_client_that_leaves_frees_every_branch_within_a_second(model: str, stream: bool):
    with serving(slow()) as served:
        body = httpx.Request("POST", served.url, json={**ASKED, "model": model, "stream": stream})
        address = served.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as connection:
            content = body.read()
            head = (
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
                f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
            )
            connection.sendall(head.encode() + content)
            assert soon(lambda: served.in_engine() > 0, 5)
        assert soon(lambda: served.in_engine() == 0)
        metrics = httpx.get(f"{served.url}/metrics").text
        assert 'dynasor_disconnects_total{endpoint="chat"} 1.0' in metrics
        assert "dynasor_programs_running 0.0" in metrics


def test_a_client_that_leaves_in_mid_stream_frees_every_branch():
    with serving(HeldOnceHeard(lambda prompt, request: "so " * 2000, speed=1)) as served:
        fields = {**ASKED, "stream": True, "x_dynasor": {"branches": 8, "policy": "fixed"}}
        with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=fields) as reply:
            assert next(line for line in reply.iter_lines() if "reasoning_content" in line)
            assert served.in_engine() == 8
        assert soon(lambda: served.in_engine() == 0)


def test_many_clients_of_which_half_leave_at_random_moments():
    draw = random.Random(1)
    with serving(FakeEngine(script, speed=1)) as served:

        async def one(client: httpx.AsyncClient, patience: float, stream: bool) -> int | None:
            with suppress(httpx.TimeoutException):
                reply = await client.post(
                    f"{served.url}/v1/chat/completions",
                    json={**ASKED, "stream": stream},
                    timeout=patience,
                )
                return reply.status_code
            return None

        async def all_() -> list[int | None]:
            limits = httpx.Limits(max_connections=100)
            async with httpx.AsyncClient(limits=limits) as client, asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        one(client, 30 if at % 2 else draw.uniform(0.001, 0.1), at % 4 < 2)
                    )
                    for at in range(60)
                ]
            return [task.result() for task in tasks]

        codes = asyncio.run(all_())
        assert codes.count(200) >= 30
        assert set(codes) <= {200, None}
        assert soon(lambda: served.in_engine() == 0)


def test_while_the_server_stops_running_programs_finish_and_new_ones_are_sent_away():
    with serving(slow(), grace=20) as served, ThreadPoolExecutor() as pool:
        running = [pool.submit(post, served, stream=stream) for stream in (False, True)]
        assert soon(lambda: served.service.running == 2, 5)
        served.listening.stop()
        assert soon(lambda: httpx.get(f"{served.url}/health").status_code == 503)
        refused = post(served)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert "retry-after" in refused.headers
        served.listening.loop.call_soon_threadsafe(served.engine.gate.set)
        whole, streamed = (one.result() for one in running)
        assert whole.json()["x_dynasor"]["stop_reason"] == "certain"
        assert streamed.text.endswith("data: [DONE]\n\n")
        served.thread.join(10)
        assert not served.thread.is_alive()


@pytest.mark.parametrize("model", ["fake", "fake@cot", "fake@direct"])
def test_what_still_runs_after_the_grace_answers_with_what_it_has(model: str):
    def one_slow(prompt: str, request) -> str:
        return "so " * 300 if "user: slow" in prompt else script(prompt, request)

    with serving(FakeEngine(one_slow, speed=1), grace=0.2) as served, ThreadPoolExecutor() as pool:
        slow_one = {"messages": [{"role": "user", "content": "slow"}], "model": model}
        one_by_one = {"policy": "fixed", "branches": 200, "budget": {"concurrency": 1}}
        more = {"x_dynasor": one_by_one if model == "fake" else {}}
        served.engine.gate.clear()
        running = pool.submit(post, served, **slow_one, **more)
        assert soon(lambda: served.in_engine() > 0, 5)
        served.listening.stop()
        if model == "fake@cot":  # it is made to say its answer
            assert soon(lambda: b"</think>" in bytes(served.engine.requests[-1].tokens), 5)
            served.engine.gate.set()
        reply = running.result()
        assert reply.status_code == 200
        assert reply.json()["x_dynasor"]["stop_reason"] == "stopped"
        served.thread.join(10)
        assert not served.thread.is_alive()


def test_a_second_signal_ends_the_grace():
    with serving(slow(), grace=60) as served, ThreadPoolExecutor() as pool:
        running = pool.submit(post, served)
        assert soon(lambda: served.in_engine() > 0, 5)
        served.listening.stop()
        served.listening.stop()
        assert running.result().json()["x_dynasor"]["stop_reason"] == "stopped"
        served.thread.join(10)
        assert not served.thread.is_alive()


def test_a_body_that_does_not_come_is_not_waited_for():
    with serving(offer=offered(body_seconds=0.1)) as served:
        address = served.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
                b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
            )
            assert b"408" in connection.recv(4096).splitlines()[0]
