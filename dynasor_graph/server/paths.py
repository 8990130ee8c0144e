"""Paths: what the server answers under each: completions, models, health, metrics."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Security
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from dynasor_graph.server.answering import Answering
from dynasor_graph.server.plan import Job, plan
from dynasor_graph.server.refusal import Refusal, refusal_of
from dynasor_graph.server.replies import (
    ChatReply,
    CompletionReply,
    Failure,
    Health,
    Model,
    Models,
)
from dynasor_graph.server.requests import Asked, ChatRequest, CompletionRequest
from dynasor_graph.server.service import Service
from dynasor_graph.server.shape import Shape

__all__ = ["paths"]

LONGEST_TOKEN: Final = 64
"""Bytes of text that no tokenizer makes less than one token of, so that none has to count them."""


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meant = {
        400: "Something in it is wrong; `param` says what.",
        401: "No key, or none of this server's.",
        404: "There is no such model.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        429: "Too much is under way; `retry-after` says when to come back.",
        500: "The engine failed.",
        502: "The server behind this one refused.",
        503: "The engine is gone, or the server is shutting down.",
    }
    return {status: {"model": Failure, "description": meant[status]} for status in statuses}


_ASKING = _failures(400, 401, 404, 408, 413, 429, 500, 502, 503)
_STREAM: Final[dict[str, Any]] = {
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
    "description": "The reply; or with `stream` its chunks, and then `[DONE]`.",
}

paths = APIRouter()
"""All paths. They find the service, the keys and the turnstile in the state of their app."""


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _owner(
    request: Request,
    documented: Annotated[object, Security(HTTPBearer(auto_error=False))],
) -> str:
    owner: str = request.app.state.keys.owner(request.headers.get("authorization"))
    return owner


Key = Annotated[str, Depends(_owner)]
"""Whose key a request carries."""
Serving = Annotated[Service, Depends(_service)]
Deadline = Annotated[
    float | None,
    Header(alias="x-dynasor-deadline", gt=0, description="the same as x_dynasor.budget.seconds"),
]


@paths.post(
    "/v1/chat/completions",
    response_model=ChatReply,
    responses={200: _STREAM, **_ASKING},
)
async def chat_completions(
    asked: ChatRequest, request: Request, key: Key, service: Serving, deadline: Deadline = None
) -> Response:
    """Answer a conversation."""
    more: dict[str, Any] = {"metadata": asked.metadata} if asked.metadata else {}
    head = (f"chatcmpl-{uuid.uuid4().hex}", "chat.completion", int(time.time()), asked.model)
    return await _answer(
        asked, request, service, key, deadline, lambda names: Shape(*head, names, **more)
    )


@paths.post(
    "/v1/completions",
    response_model=CompletionReply,
    responses={200: _STREAM, **_ASKING},
)
async def completions(
    asked: CompletionRequest,
    request: Request,
    key: Key,
    service: Serving,
    deadline: Deadline = None,
) -> Response:
    """Go on with a text, without the chat template."""
    head = (f"cmpl-{uuid.uuid4().hex}", "text_completion", int(time.time()), asked.model)
    return await _answer(asked, request, service, key, deadline, lambda names: Shape(*head, names))


async def _answer(
    asked: Asked,
    request: Request,
    service: Service,
    key: str,
    deadline: float | None,
    shape: Callable[[list[str]], Shape],
) -> Response:
    endpoint = "chat" if isinstance(asked, ChatRequest) else "completions"
    try:
        service.check_open()
        jobs = plan(asked, service.offer, tenant=key or asked.user or "", seconds=deadline)
        await _check_prompts(service, jobs)
    except Exception as error:
        refusal = refusal_of(error)
        service.metrics.requests.labels(endpoint, str(refusal.status)).inc()
        raise refusal from error
    return Answering(
        service=service,
        turnstile=request.app.state.turnstile,
        key=key,
        jobs=jobs,
        shape=shape([job.name for job in jobs]),
        endpoint=endpoint,
        stream=bool(asked.stream),
        include_usage=asked.include_usage,
        raw=isinstance(asked, CompletionRequest),
        heartbeat=request.app.state.heartbeat,
    )


async def _check_prompts(service: Service, jobs: list[Job]) -> None:
    """Refuse prompts that are too long; what is long beyond doubt is not even counted."""
    limit = service.offer.limits.prompt_tokens or service.engine.context
    for text, job in {job.question.text: job for job in jobs}.items():
        chat = [*job.question.chat]
        size = sum(len(message["content"].encode()) for message in chat) or len(text.encode())
        if size > limit * LONGEST_TOKEN:
            raise _too_long(f"{size} bytes", limit)
        if service.offer.limits.prompt_tokens is None or size <= limit // 2:
            continue  # the engine refuses what its context does not hold
        if job.context.raw_prompt:
            tokens = len(await service.engine.encode(text))
        else:
            c = job.context
            rendered = await service.engine.render(chat, thinking=c.thinking, tools=c.tools)
            tokens = len(rendered)
        if tokens > limit:
            raise _too_long(f"{tokens} tokens", limit)


def _too_long(size: str, limit: int) -> Refusal:
    return Refusal(
        400,
        f"the prompt has {size}, and this server takes {limit} tokens: shorten it",
        code="context_length_exceeded",
        param="messages",
    )


# What there is, and how it is ------------------------------------------------------------------


def _model(service: Service, name: str, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "dynasor_graph",
        "max_model_len": service.engine.context,
    }


def _names(service: Service) -> list[str]:
    offer = service.offer
    return [offer.model, *(f"{offer.model}@{name}" for name in offer.algorithms)]


@paths.get("/v1/models", response_model=Models, responses=_failures(401))
async def models(request: Request, key: Key, service: Serving) -> dict[str, Any]:
    """The model, by itself and with each algorithm."""
    created = request.app.state.created
    rows = [_model(service, name, created) for name in _names(service)]
    return {"object": "list", "data": rows}


@paths.get("/v1/models/{name:path}", response_model=Model, responses=_failures(400, 401, 404))
async def model(request: Request, name: str, key: Key, service: Serving) -> dict[str, Any]:
    """One of them."""
    if name not in _names(service):
        raise Refusal(404, f"there is no model {name!a}: see /v1/models", code="model_not_found")
    return _model(service, name, request.app.state.created)


@paths.get("/health", response_model=Health, responses={503: {"model": Health}})
async def health(service: Serving) -> Response:
    """Whether requests are taken: 503 while shutting down, or without an engine. Needs no key."""
    load = await service.load()
    status = "draining" if service.draining else "ok" if load else "no engine"
    return JSONResponse({"status": status}, 200 if status == "ok" else 503)


@paths.get("/metrics", response_class=Response, responses=_failures(401))
async def metrics(key: Key, service: Serving) -> Response:
    """Counters, for Prometheus."""
    page = service.metrics.page(await service.load())
    return Response(page, media_type=CONTENT_TYPE_LATEST)
