"""What a hostile client sends: never a failure of the server, and nothing is left behind."""

from __future__ import annotations

import asyncio
import collections
import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from dynasor_graph.engine import FakeEngine, names
from tests.server.conftest import MODEL, asking, offered, script, serving
from tests.server.malformed import bodies

pytestmark = pytest.mark.anyio


async def post(app, path: str, body: bytes, kind: bytes = b"application/json") -> tuple[int, bytes]:
    """Ask an application without a client between."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", kind)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    parts = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive():
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def test_ten_thousand_malformed_bodies_do_no_harm():
    engine = FakeEngine(script, speed=64)
    seen: collections.Counter[int] = collections.Counter()
    async with asking(engine, offer=offered(branches=8, seconds=5)) as client:
        registered = len(names._engines._found)
        app = client._transport.app  # type: ignore[attr-defined]
        for path, body in bodies(10_000, seed=1):
            status, reply = await post(app, path, body)
            assert status < 500, (body[:500], reply)
            if status != 200:
                assert json.loads(reply)["error"]["message"], (body[:500], reply)
            seen[status] += 1
        load = await engine.load()
        assert (load.running, load.waiting, client.service.running) == (0, 0, 0)
        assert len(names._engines._found) == registered
    assert seen[400] > 5000
    assert seen[200] > 100  # the fuzz also gets through


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_server_does_as_its_openapi_document_says(mode: GenerationMode):
    with serving(offer=offered(branches=8, seconds=5)) as served:
        schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            if mode is GenerationMode.NEGATIVE and not (
                operation.body or operation.path_parameters
            ):
                continue  # there is nothing that could be wrong

            @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: schemathesis.Case[Any]) -> None:
                if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
                    case.body["model"] = MODEL  # else there is none of that name, and it ends there
                case.call_and_validate(checks=CHECKS)

            check()
        assert served.in_engine() == 0
