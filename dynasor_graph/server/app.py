"""App: the server as an ASGI application: its paths, and what every request passes on its way."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response

from dynasor_graph.engine import Engine
from dynasor_graph.scheduler import Order
from dynasor_graph.server.answering import HEARTBEAT
from dynasor_graph.server.body import BoundedBody
from dynasor_graph.server.keys import Keys
from dynasor_graph.server.limits import Turnstile
from dynasor_graph.server.paths import paths
from dynasor_graph.server.plan import Offer
from dynasor_graph.server.refusal import Refusal, refusal_of, refused_fields
from dynasor_graph.server.service import Service

__all__ = ["create_app"]


def create_app(
    engine: Engine | str,
    offer: Offer,
    *,
    keys: Keys | None = None,
    scheduler: str | Order | None = "sjf",
    hosts: Sequence[str] | None = None,
    log_prompts: bool = False,
    heartbeat: float = HEARTBEAT,
) -> FastAPI:
    """The server as an ASGI application. Its `Service` is `app.state.service`.

    Args:
        engine: An open engine, or the name of a registered one.
        offer: What clients may ask for.
        keys: The keys in force; None: everybody may ask.
        scheduler: In which order requests of all programs reach the engine; None for none.
        hosts: Names under which the server is reached; others are refused, so that a web page cannot
            reach it under a name of its own. None: any.
        log_prompts: Also write what was asked and answered to the log.
        heartbeat: Seconds of silence after which a stream says that it is alive, > 0.
    """
    service = Service(engine, offer, scheduler=scheduler, log_prompts=log_prompts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    middleware = [Middleware(BoundedBody, limits=offer.limits)]
    if hosts is not None:
        middleware.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)))
    app = FastAPI(
        title="dynasor_graph",
        summary="OpenAI-compatible: reasoning programs that stop when the answer has settled.",
        lifespan=lifespan,
        middleware=middleware,
        exception_handlers={
            Refusal: _refused,
            RequestValidationError: _invalid,
            HTTPException: _no_path,
            Exception: _refused,
        },
        docs_url=None,
        redoc_url=None,
    )
    app.state.service, app.state.keys = service, keys or Keys()
    app.state.turnstile, app.state.heartbeat = Turnstile(offer.limits), heartbeat
    app.state.created = int(time.time())
    app.include_router(paths)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    return refusal_of(error).response()


async def _invalid(request: Request, error: Exception) -> Response:
    errors: Any = cast("RequestValidationError", error).errors()
    return refused_fields(errors).response()


async def _no_path(request: Request, error: Exception) -> Response:
    found = cast("HTTPException", error)
    codes = {404: "not_found", 405: "method_not_allowed"}
    refusal = Refusal(
        found.status_code, str(found.detail), code=codes.get(found.status_code, "invalid_request")
    )
    response = refusal.response()
    response.headers.update(found.headers or {})
    return response
