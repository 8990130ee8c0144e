"""API keys: how they are read, compared, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynasor_graph.errors import ConfigError
from dynasor_graph.server import Keys
from dynasor_graph.server.keys import ENVIRONMENT
from dynasor_graph.server.listen import check_bind, local_names
from dynasor_graph.server.refusal import Refusal

ADA, BEN = "a" * 20, "b" * 20


def test_a_key_names_its_owner():
    keys = Keys({"ada": ADA, "ben": BEN})
    assert keys.owner(f"Bearer {ADA}") == "ada"
    assert keys.owner(f"bearer  {BEN} ") == "ben"
    assert Keys().owner(None) == Keys().owner("Bearer x") == ""


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        (ADA, "missing_api_key"),
        (f"Basic {ADA}", "missing_api_key"),
        ("Bearer", "missing_api_key"),
        (f"Bearer {ADA}x", "invalid_api_key"),
        (f"Bearer {ADA[:-1]}", "invalid_api_key"),
        ("Bearer \xe9\udcff", "invalid_api_key"),
    ],
)
def test_anything_else_is_refused(header: str | None, code: str):
    with pytest.raises(Refusal) as refused:
        Keys({"ada": ADA}).owner(header)
    assert (refused.value.status, refused.value.code) == (401, code)


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "keys"
    file.write_text(f"# of the lab\n\nada = {ADA}\n")
    monkeypatch.setenv(ENVIRONMENT, f"ben={BEN},")
    keys = Keys.read(file)
    assert sorted(keys.names) == ["ada", "ben"]
    assert keys.owner(f"Bearer {BEN}") == "ben"
    monkeypatch.delenv(ENVIRONMENT)
    assert Keys.read().names == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no key in it"),
        (ADA, "write name=key"),
        (f"={ADA}", "write name=key"),
        ("ada=short", "16 printable"),
        (f"ada={ADA}\nada={BEN}", "used before"),
        (f"ada={ADA}\nben={ADA}", "also another's"),
        (f"ada={'é' * 20}", "printable ASCII"),
    ],
)
def test_a_file_of_keys_that_is_wrong_is_told_without_the_key(tmp_path: Path, text: str, says: str):
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        Keys.read(file)
    assert ADA not in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Keys.read(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("host", "keys", "insecure", "safe"),
    [
        ("127.0.0.1", None, False, True),
        ("127.8.8.8", None, False, True),
        ("localhost", None, False, True),
        ("::1", None, False, True),
        ("0.0.0.0", None, False, False),
        ("::", None, False, False),
        ("10.0.0.1", None, False, False),
        ("example.org", None, False, False),
        ("0.0.0.0", {"ada": ADA}, False, True),
        ("0.0.0.0", None, True, True),
    ],
)
def test_without_keys_only_this_machine_may_reach_it(host, keys, insecure: bool, safe: bool):
    if safe:
        check_bind(host, Keys(keys), insecure=insecure)
    else:
        with pytest.raises(ConfigError, match="--keys"):
            check_bind(host, Keys(keys), insecure=insecure)


def test_only_loopback_has_names_of_its_own():
    assert local_names("0.0.0.0") is None
    assert "localhost" in (local_names("127.0.0.1") or [])
