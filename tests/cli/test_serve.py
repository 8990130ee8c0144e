"""`dynasor-graph serve`: what it tells, what it refuses, and that a signal ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from dynasor_graph.cli import main
from dynasor_graph.server.keys import ENVIRONMENT

KEY = "k" * 24


def test_a_server_is_started_asked_and_stopped(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text(f"ada={KEY}\n")
    command = [sys.executable, "-m", "dynasor_graph", "serve", "-e", "fake", "--port", "0"]
    command += ["--keys", str(keys), "--name", "sage", "--log-requests", "--reward", "x"]
    server = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "80"}
    )
    assert server.stderr is not None
    killer = threading.Timer(60, server.kill)
    killer.start()
    try:
        told = ""
        while not (found := re.search(r"sage at (http://127.0.0.1:\d+)/v1", told)):
            line = server.stderr.readline()
            assert line, told
            told += line
        curl = server.stderr.readline()
        assert "keys: ada" in told
        assert KEY not in told + curl
        assert f"curl {found[1]}/v1/chat/completions" in curl
        with httpx.Client(base_url=found[1], headers={"authorization": f"Bearer {KEY}"}) as client:
            transport = httpx.HTTPTransport(retries=20)
            with httpx.Client(transport=transport) as patient:
                assert patient.get(f"{found[1]}/health").json() == {"status": "ok"}
            body = {"model": "sage@rebase", "messages": [{"role": "user", "content": "sesame?"}]}
            reply = client.post("/v1/chat/completions", json=body).json()
            assert reply["x_dynasor"]["answer"] == "42"
            assert reply["model"] == "sage@rebase"
        server.send_signal(signal.SIGTERM)
        _, rest = server.communicate(timeout=30)
        assert server.returncode == 0, rest
        assert "algorithm=rebase tenant=ada" in rest
        assert "sesame" not in rest
        assert KEY not in rest
    finally:
        killer.cancel()
        server.kill()
        server.wait()
        server.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "no keys are in force"),
        (["--keys", "nothing"], "cannot be read"),
        (["--limit", "foo=1"], "foo"),
        (["--limit", "rate"], "key=value"),
        (["--limit", "rate=-1"], "rate"),
        (["--algorithm", "nothing"], "unknown algorithm"),
        (["--algorithm", "rebase"], "--reward"),
        (["--policy", "nothing"], "unknown policy"),
        (["--set", "foo=1"], "foo"),
        (["--scheduler", "nothing"], "unknown order"),
        (["--host", "999.1.1.1", "--insecure"], "cannot listen on 999.1.1.1"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    says: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "-e", "fake", "--port", "0", *arguments])
    assert ended.value.code == 2
    error = capfd.readouterr().err
    assert says in error
    assert "Traceback" not in error
