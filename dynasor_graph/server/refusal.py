"""Refusal: what the server says no to, and every other failure, in the shape of OpenAI's errors."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from dynasor_graph.errors import (
    ConfigError,
    EngineDied,
    EngineError,
    EngineRefused,
    EngineUnreachable,
    InputError,
    Overloaded,
    PromptTooLong,
)

__all__ = ["Refusal", "refusal_of", "refused_fields"]

logger = logging.getLogger("dynasor_graph.server")

LONGEST = 1000
"""Characters of a message; the rest of what somebody sent need not go back to them."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "unavailable_error",
}


class Refusal(Exception):
    """A request that is not answered, and why.

    Args:
        status: HTTP's.
        message: For a person: what is wrong, and the cure.
        code: For a program, such as "model_not_found".
        param: The field that is wrong.
        retry_after: Seconds after which it may go well.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.message = message if len(message) <= LONGEST else message[: LONGEST - 3] + "..."
        self.retry_after = retry_after

    def to_json(self) -> dict[str, Any]:
        """OpenAI's object."""
        kind = "server_error" if self.status == 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        """The reply; ASCII, because what it quotes may be no valid text."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status in {408, 413}:
            headers["connection"] = "close"  # what is left of the body is not read
        body = json.dumps(self.to_json()).encode()
        return Response(body, self.status, headers, media_type="application/json")


def refusal_of(error: Exception) -> Refusal:
    """Any exception as a refusal; one that nobody expected is logged."""
    match error:
        case Refusal():
            return error
        case PromptTooLong():
            return Refusal(400, str(error), code="context_length_exceeded", param="messages")
        case ConfigError() | InputError():
            return Refusal(400, str(error), code="invalid_value")
        case Overloaded():
            return Refusal(429, str(error), code="overloaded", retry_after=error.retry_after)
        case EngineUnreachable() | EngineDied():
            logger.error("the engine is gone: %s", error)
            return Refusal(503, "the engine is gone", code="engine_unavailable", retry_after=10)
        case EngineRefused():
            logger.error("the engine refused: %s", error)
            return Refusal(502, "the engine refused the request", code="engine_refused")
        case EngineError():
            logger.error("the engine failed: %s", error)
            return Refusal(500, "the engine failed", code="engine_error")
        case _:
            logger.error("a request failed", exc_info=error)
            return Refusal(500, "internal error", code="internal_error")


def refused_fields(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """What pydantic found wrong with a body, the first of it as `param`."""
    said = []
    for error in errors[:5]:
        field = _field(error)
        said.append(f"{field}: {_what(error)}" if field else _what(error))
    if len(errors) > 5:
        said.append(f"and {len(errors) - 5} more")
    param = _field(errors[0]) or None
    code = "unsupported_parameter" if errors[0]["type"] == "not_honoured" else "invalid_value"
    if errors[0]["type"] == "extra_forbidden":
        code = "unknown_parameter"
    return Refusal(400, "; ".join(said), code=code, param=param)


def _field(error: Mapping[str, Any]) -> str:
    parts = [str(part) for part in error["loc"] if part not in {"body", "header", "path"}]
    # Of unions, pydantic also tells which member it tried.
    return ".".join(part for part in parts if part.isidentifier() or part.isdigit())[:200]


def _what(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "this server knows no such field: leave it out"
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in {"missing", "value_error", "not_honoured", "json_invalid"}:
        return text
    given = ascii(error.get("input"))
    return f"{text}, got {given if len(given) <= 100 else given[:97] + '...'}"
