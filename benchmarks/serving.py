"""Serving: what the server adds to each chunk of a stream, with 1,000 programs at a time.

    python -m benchmarks.serving [--programs 1000] [--chunks 20] [--interval 0.5] [--json]
    python -m benchmarks.serving --soak 20

A scripted engine writes into each chunk when it made it, at the pace of a real one. The same programs
run twice: straight, where the reader is in the engine's process, and through the server, where it is a
client on a socket in a process of its own (the second core). The added latency is the difference of the
medians (bar: 5 ms), and there may be no error. `--soak` keeps clients asking for so many minutes, a
fifth of whom leave half-way, and reads the server's memory (bar: within 5 % after the first tenth).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import re
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dynasor_graph as dg
from benchmarks.output import show
from dynasor_graph.scheduler import Scheduled

CHUNK = 8
"""Tokens of a chunk."""
_MADE = re.compile(rb"@(\d+);")


class Paced(dg.FakeEngine):
    """Makes chunks at a pace, and writes into each when it was made.

    Args:
        chunks: Of a reply.
        interval: Seconds between two.
        together: How many replies wait for each other before the first begins.
    """

    def __init__(self, chunks: int, interval: float, together: int) -> None:
        super().__init__()
        self._chunks, self._interval, self._together = chunks, interval, together
        self._on = 0
        self._all_there = asyncio.Event()

    async def stream(self, request: dg.Request) -> AsyncGenerator[dg.Delta, None]:
        """A reply; nothing of it is kept."""
        self._on += 1
        if self._on >= self._together:
            self._all_there.set()
        try:
            await self._all_there.wait()
            await asyncio.sleep(random.uniform(0, self._interval))
            for at in range(self._chunks):
                await asyncio.sleep(self._interval)
                yield dg.Delta(
                    token_ids=(64,) * CHUNK,
                    text=f"@{time.monotonic_ns()};",
                    count=CHUNK,
                    finish_reason="stop" if at == self._chunks - 1 else None,
                )
        finally:
            self._on -= 1

    async def load(self) -> dg.Load:
        """How many replies are under way."""
        return dg.Load(running=self._on)


def engine_of(chunks: int, interval: float, together: int) -> Scheduled:
    """Behind a scheduler, as in life; it lets all of them through, so that all run at a time."""
    return Scheduled(Paced(chunks, interval, together), limit=1_000_000)


def late(text: bytes) -> list[float]:
    """How old each chunk in a text is now, in milliseconds."""
    now = time.monotonic_ns()
    return [(now - int(made)) / 1e6 for made in _MADE.findall(text)]


# Straight ----------------------------------------------------------------------------------------


async def straight(programs: int, chunks: int, interval: float) -> list[float]:
    """The latencies of all chunks where the reader is in the engine's process."""
    found: list[float] = []
    engine = engine_of(chunks, interval, programs)

    async def one(number: int) -> None:
        items = dg.stream(
            dg.Question(id=str(number), text="?"),
            engine=engine,
            policy="fixed",
            branches=1,
            stream_tokens=CHUNK,
        )
        async with aclosing(items):
            async for item in items:
                if isinstance(item, dict) and item["event"] == "text":
                    found.extend(late(item["text"].encode()))

    async with asyncio.TaskGroup() as group:
        for number in range(programs):
            group.create_task(one(number))
    return found


# Served ------------------------------------------------------------------------------------------


def serve(told: Connection, chunks: int, interval: float, together: int) -> None:
    """The server, in a process of its own, until it is terminated."""
    from dynasor_graph.server import Limits, Offer, create_app
    from dynasor_graph.server.listen import Listening, bind

    limits = Limits(concurrency=100_000)
    app = create_app(
        engine_of(chunks, interval, together),
        Offer(model="paced", algorithm="direct", limits=limits, chunk=CHUNK),
    )
    listening = Listening(app, bind("127.0.0.1", 0))

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(listening.run_until_stopped())
            await asyncio.to_thread(listening.ready.wait)
            told.send(listening.port)

    asyncio.run(run())


@contextlib.contextmanager
def served(chunks: int, interval: float, together: int = 1) -> Any:
    """Port and process of a server."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, chunks, interval, together), daemon=True)
    process.start()
    try:
        yield ours.recv(), process.pid
    finally:
        process.terminate()
        process.join(30)


BODY = json.dumps(
    {"model": "paced", "messages": [{"role": "user", "content": "?"}], "stream": True}
).encode()
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
).encode()


async def ask(port: int, found: list[float], patience: float | None = None) -> bool:
    """Ask once, over a bare socket; whether the stream came to its end. A client may lose patience."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    last = b""
    try:
        writer.write(HEAD + BODY)
        async with asyncio.timeout(patience):
            while part := await reader.read(65536):
                found.extend(late(part))
                last = (last + part)[-64:]
    except TimeoutError:
        return True
    except OSError:
        return False
    finally:
        writer.close()
    return b"data: [DONE]" in last


async def all_at_once(port: int, programs: int) -> tuple[list[float], int]:
    """The latencies of all chunks through the server, and how many streams did not end well."""
    found: list[float] = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(port, found)) for _ in range(programs)]
    return found, sum(not task.result() for task in tasks)


def rows(programs: int, chunks: int, interval: float) -> list[dict[str, Any]]:
    """Both sides, and the difference."""
    sides: dict[str, tuple[list[float], int]] = {
        "straight": (asyncio.run(straight(programs, chunks, interval)), 0)
    }
    with served(chunks, interval, programs) as (port, _):
        sides["served"] = asyncio.run(all_at_once(port, programs))
    made: list[dict[str, Any]] = [
        {
            "side": side,
            "programs": programs,
            "chunks": len(found),
            "errors": errors + (len(found) != programs * chunks),
            "median_ms": round(statistics.median(found), 2),
            "p99_ms": round(statistics.quantiles(found, n=100)[98], 2),
        }
        for side, (found, errors) in sides.items()
    ]
    added = {name: round(made[1][name] - made[0][name], 2) for name in ("median_ms", "p99_ms")}
    return [*made, {"side": "added", "programs": "", "chunks": "", "errors": "", **added}]


# Soak --------------------------------------------------------------------------------------------


def resident(pid: int) -> float:
    """MiB of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


async def keep_asking(port: int, pid: int, minutes: float, clients: int) -> list[dict[str, Any]]:
    """Memory ten times on the way, and what was asked until then."""
    until = time.monotonic() + 60 * minutes
    made: list[dict[str, Any]] = []
    sizes: list[float] = []
    asked = failed = 0

    async def client(draw: random.Random) -> None:
        nonlocal asked, failed
        while time.monotonic() < until:
            asked += 1
            leaves = draw.random() < 0.2
            failed += not await ask(port, [], draw.uniform(0.01, 0.4) if leaves else None)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(random.Random(number)))
        for tenth in range(1, 11):
            await asyncio.sleep(max(0.0, until - time.monotonic() - 6 * minutes * (10 - tenth)))
            sizes.append(resident(pid))
            made.append(
                {
                    "minute": round(minutes * tenth / 10, 2),
                    "requests": asked,
                    "errors": failed,
                    "rss_mib": round(sizes[-1], 1),
                    "growth": f"{sizes[-1] / sizes[0] - 1:.1%}",
                }
            )
    return made


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two chunks")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--clients", type=int, default=100, help="of the soak")
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    if options.soak:
        with served(10, 0.05) as (port, pid):
            work = keep_asking(port, pid, options.soak, options.clients)
            show("soak", asyncio.run(work), json_out=options.json_out)
        return
    made = rows(options.programs, options.chunks, options.interval)
    show("latency of a chunk", made, json_out=options.json_out)


if __name__ == "__main__":
    main()
