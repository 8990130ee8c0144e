"""Draft: the settings of a program while a request's fields are put into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dynasor_graph.answers import KINDS, kind_row
from dynasor_graph.server.refusal import Refusal
from dynasor_graph.server.requests import Asked
from dynasor_graph.types import JSON

__all__ = ["Draft"]

_NOT_YOURS: Final = {
    "engine": "it is the server's",
    "reward": "it is the server's",
    "account": "it is the server's",
    "tenant": "it follows from the key, or from `user`",
    "shadow": "it is the server's",
    "tools": "use the field `tools`",
    "stream_tokens": "it is the server's",
    "keep_tokens": "it is the server's",
    "raw_prompt": "use /v1/completions",
    "seeded_by": "use the field `seed`",
}
_PLAIN: Final = {
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "seed": "sampling.seed",
    "max_tokens": "sampling.max_tokens",
    "max_completion_tokens": "budget.tokens",
}


class Draft:
    """Settings while they are put together, and which field of the request gave each."""

    def __init__(self, values: JSON) -> None:
        self.values = values
        self.params: dict[str, str] = {}

    def put(self, path: str, value: Any, param: str) -> None:
        """Take a setting.

        Raises:
            Refusal: Another field gave it, too.
        """
        if path in self.params:
            raise Refusal(
                400,
                f"{param} and {self.params[path]} are one setting: give one of them",
                code="invalid_value",
                param=param,
            )
        self.params[path] = param
        group, dot, leaf = path.partition(".")
        if dot:
            self.values[group] = {**self.values.get(group, {}), leaf: value}
        else:
            self.values[path] = value

    def put_extra(self, extra: Mapping[str, Any]) -> None:
        """Take what `x_dynasor` says.

        Raises:
            Refusal: It is not for a client to say.
        """
        for path, value in _leaves(extra):
            self.put(path, value, f"x_dynasor.{path}")

    def put_fields(self, asked: Asked) -> None:
        """Take the fields that are settings."""
        for name, path in _PLAIN.items():
            if (value := getattr(asked, name, None)) is not None:
                self.put(path, value, name)
        if asked.stops is not None:
            self.put("sampling.stop", tuple(filter(None, asked.stops)), "stop")
        if asked.top_k is not None:
            self.put("sampling.top_k", max(0, asked.top_k), "top_k")


def _leaves(extra: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in extra.items():
        param = f"x_dynasor.{key}"
        if key in _NOT_YOURS:
            raise Refusal(
                400, f"{param}: {_NOT_YOURS[key]}", code="unsupported_parameter", param=param
            )
        if key == "policy" and _names_file(value):
            raise Refusal(
                400,
                "x_dynasor.policy: files are the server's: send the policy itself, as JSON",
                code="unsupported_parameter",
                param=param,
            )
        if key == "answers":
            _check_kind(value)
        if key in {"sampling", "budget"}:
            if not isinstance(value, dict):
                raise Refusal(400, f"{param}: must be an object", code="invalid_value", param=param)
            yield from ((f"{key}.{leaf}", inner) for leaf, inner in value.items())
        else:
            yield key, value


def _check_kind(spec: Any) -> None:
    """Refuse a kind of answers whose settings reach for the server's machine."""
    row = kind_row(spec)
    kind = KINDS.get(str(row.get("kind"))) if isinstance(row, dict) else None
    if kind is not None and (found := sorted(kind.local & row.keys())):
        raise Refusal(
            400,
            f"x_dynasor.answers: {', '.join(found)} of {row['kind']!r} is the server's: leave it out",
            code="unsupported_parameter",
            param="x_dynasor.answers",
        )


def _names_file(policy: Any) -> bool:
    """Whether reading a policy could open a file: text that ends with .json is a file's name."""
    if isinstance(policy, dict):
        return any(map(_names_file, policy.values()))
    if isinstance(policy, list):
        return any(map(_names_file, policy))
    return isinstance(policy, str) and ".json" in policy.lower()
