"""Keys: who may ask: names and digests of API keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from dynasor_graph.errors import ConfigError
from dynasor_graph.server.refusal import Refusal

__all__ = ["ENVIRONMENT", "Keys"]

ENVIRONMENT: Final = "DYNASOR_SERVER_KEYS"
"""Variable that may hold keys: `name=key`, separated by commas."""

SHORTEST: Final = 16
"""Characters of a key."""


class Keys:
    """The keys in force. Only their digests are kept.

    Args:
        keys: Name -> key; without any, everybody may ask.

    Raises:
        ConfigError: A key is too short, or is there twice.
    """

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        self._digests: dict[str, bytes] = {}
        for name, key in (keys or {}).items():
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable():
                raise ConfigError(
                    f"the key {name!r} must be {SHORTEST} printable ASCII characters or more: "
                    "make one with `openssl rand -hex 24`"
                )
            digest = _digest(key)
            if digest in self._digests.values():
                raise ConfigError(f"the key {name!r} is also another's: make one for each")
            self._digests[name] = digest

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """The keys of a file, and of the environment.

        The file has a line `name=key` for each; blank lines and those that begin with # are passed over.

        Raises:
            ConfigError: The file cannot be read, a line is no key, or a name is there twice.
        """
        lines = [part for part in os.environ.get(ENVIRONMENT, "").split(",") if part.strip()]
        places = [ENVIRONMENT] * len(lines)
        if path is not None:
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path}: cannot be read: {error}") from None
            found = [
                (number, line.strip())
                for number, line in enumerate(text.splitlines(), start=1)
                if line.strip() and not line.strip().startswith("#")
            ]
            if not found:
                raise ConfigError(f"{path}: no key in it: write lines of the form name=key")
            lines += [line for _, line in found]
            places += [f"{path}:{number}" for number, _ in found]
        keys: dict[str, str] = {}
        for place, line in zip(places, lines, strict=True):
            name, equals, key = (part.strip() for part in line.partition("="))
            if not equals or not name:
                raise ConfigError(f"{place}: write name=key")  # without the line: it is a secret
            if name in keys:
                raise ConfigError(f"{place}: the name {name!r} was used before")
            keys[name] = key
        return cls(keys)

    @property
    def names(self) -> list[str]:
        """Whose keys they are; empty where everybody may ask."""
        return list(self._digests)

    def owner(self, authorization: str | None) -> str:
        """Whose key a request carries; "" where none are in force.

        Args:
            authorization: The header: `Bearer KEY`.

        Raises:
            Refusal: It is no key of ours (401).
        """
        if not self._digests:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Refusal(
                401,
                "this server wants a key: send the header `Authorization: Bearer KEY`",
                code="missing_api_key",
            )
        given, owner = _digest(key.strip()), None
        # All are compared, so that the time says nothing about which was close.
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, given):
                owner = name
        if owner is None:
            raise Refusal(401, "this server knows no such key", code="invalid_api_key")
        return owner


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
