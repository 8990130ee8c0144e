"""Accounts: ledgers of whole runs by name, which the programs of a run share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dynasor_graph.budget import Ledger
from dynasor_graph.errors import ConfigError

__all__ = ["account", "open_account"]

_accounts: dict[str, Ledger] = {}


@contextmanager
def open_account(name: str, tokens: int | None) -> Iterator[Ledger]:
    """A ledger that all programs with `Context.account = name` also have to ask, while inside.

    Raises:
        ConfigError: An account of that name is open already.
    """
    if name in _accounts:
        raise ConfigError(f"account {name!r} is open already: give this run another name")
    _accounts[name] = ledger = Ledger(tokens, source="run")
    try:
        yield ledger
    finally:
        del _accounts[name]


def account(name: str | None) -> Ledger | None:
    """The ledger of that name; None for None.

    Raises:
        ConfigError: No run of that name is open in this process.
    """
    if name is None:
        return None
    if name not in _accounts:
        raise ConfigError(f"no account {name!r} is open: open it with open_account around the run")
    return _accounts[name]
