"""Attacks on the sandbox: each is stopped, the host and other runs go on, and nothing is left behind.

Each is bounded in itself: were a guard to fail, it would come to 200 forks, 2 GB and 60 s at the most.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from dynasor_graph.errors import SandboxError
from dynasor_graph.sandbox import Limits, Output, Sandbox, Script

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the guards are those of Linux"),
]

MARK = f"dynasor-sandbox-{os.getpid()}-"
"""In the command line of the workers of this process, and in the names of their folders."""

GOOD = Script("print(int(input()) + 1)", ["1"])


def of_sandboxes() -> set[int]:
    """The processes of this process' sandboxes: a fork keeps its command line, whatever else it does."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if MARK.encode() in (process / "cmdline").read_bytes():
                found.add(int(process.name))
        except OSError:
            continue  # it has just ended
    return found


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(f"{MARK}*"))


@pytest.fixture(scope="module", params=["namespaces", "rlimits"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    isolation: Literal["namespaces", "rlimits"] = request.param
    before = of_sandboxes(), folders(), len(list(Path("/proc/self/fd").iterdir()))
    limits = Limits(seconds=1, total_seconds=3)
    with Sandbox(limits, workers=1, isolation=isolation) as one:
        try:
            _ = one.protection
        except SandboxError as error:
            pytest.skip(f"{isolation} are not allowed here: {error}")
        yield one
    assert (of_sandboxes(), folders(), len(list(Path("/proc/self/fd").iterdir()))) == before


async def attack(box: Sandbox, source: str, *arguments: str) -> Output:
    """Run an attack; after it the worker is as it was, or another, and works."""
    await box.run(GOOD)
    before = len(of_sandboxes())
    (output,) = (await box.run(Script(source, ["\n".join(arguments)]))).outputs
    after = await box.run(GOOD)
    assert after.values == ("2\n",)
    assert len(of_sandboxes()) == before
    return output


async def test_every_guard_is_on_where_the_kernel_has_them(box: Sandbox):
    told = box.protection
    if told.isolation == "namespaces":
        assert (told.network, told.writing, told.reading, told.signals) == (True,) * 4
    assert told.processes


FORKS = """
import os, time
made = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        made += 1
except OSError:
    pass
print(made)
"""


async def test_many_forks_are_few(box: Sandbox):
    output = await attack(box, FORKS)
    assert output.value is not None
    assert int(output.value) < 8


async def test_forks_of_forks_end_with_the_program(box: Sandbox):
    source = """
import os, time
for _ in range(7):  # 128 at the most
    try:
        os.fork()
    except OSError:
        pass
time.sleep(20)
"""
    assert (await attack(box, source)).failure == "timeout"


THREADS = """
import threading, time
made = 0
try:
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        made += 1
except (RuntimeError, MemoryError):
    pass
import os
print(made, flush=True)
os._exit(0)
"""


async def test_many_threads_end_with_the_program(box: Sandbox):
    output = await attack(box, THREADS)
    assert output.failure in ("crash", "timeout")


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        pytest.param(
            "import time\nend = time.time() + 60\nwhile time.time() < end: pass",
            "timeout",
            id="endless-loop",
        ),
        pytest.param("import time; time.sleep(60)", "timeout", id="sleep"),
        pytest.param("import os, signal; os.kill(os.getpid(), 19)", None, id="stops-itself"),
        pytest.param("x = bytearray(2_000_000_000)", "memory", id="large-allocation"),
        pytest.param(
            "x = []\nfor _ in range(2_000): x.append(bytearray(1_000_000))", "memory", id="growing"
        ),
        pytest.param("for _ in range(200_000): print('x' * 10_000)", "output", id="endless-output"),
        pytest.param("print('x' * 70_000)", "output", id="one-large-output"),
        pytest.param(
            "import os\nfor fd in range(3, 70):\n    try: os.write(fd, b'[' * 900_000)\n"
            "    except OSError: pass",
            None,
            id="junk-into-all-pipes",
        ),
        pytest.param("import os; os._exit(0)", "crash", id="ends-without-a-word"),
        pytest.param("import ctypes; ctypes.string_at(0)", "crash", id="segmentation-fault"),
        pytest.param("import os; os.closerange(0, 4096); print(1)", "crash", id="closes-all"),
        pytest.param("exec('(' * 100_000)", "exception", id="deep-source"),
        pytest.param("def f(): f()\nf()", "exception", id="deep-recursion"),
        pytest.param("raise SystemExit(3)", "exception", id="exit-status"),
        pytest.param("raise KeyboardInterrupt", "exception", id="interrupt"),
        pytest.param(
            "class E(Exception):\n    def __str__(self): raise self\nraise E",
            "exception",
            id="no-str",
        ),
    ],
)
async def test_it_is_stopped_and_called_by_its_name(box: Sandbox, source: str, failure: str | None):
    output = await attack(box, source)
    assert output.value is None or failure is None
    assert failure is None or output.failure == failure


async def test_nothing_is_written_outside_the_folder(box: Sandbox, tmp_path: Path):
    if not box.protection.writing:
        pytest.skip("the kernel has neither namespaces nor Landlock here")
    victim = tmp_path / "victim"
    victim.write_text("unharmed")
    source = """
import os
folder = input()
for attempt in (
    lambda: open(folder + "/new", "w"),
    lambda: open(folder + "/victim", "w"),
    lambda: os.truncate(folder + "/victim", 0),
    lambda: os.unlink(folder + "/victim"),
    lambda: os.rename(folder + "/victim", "mine"),
    lambda: os.chmod(folder + "/victim", 0),
    lambda: os.symlink("/etc", folder + "/link"),
    lambda: os.mkdir(folder + "/made"),
    lambda: os.utime(folder + "/victim", (0, 0)),
    lambda: os.link(folder + "/victim", "linked"),
    lambda: open(os.__file__, "a"),
):
    try:
        attempt()
    except OSError:
        pass
    else:
        print("did it")
print("tried all")
"""
    before = victim.stat()
    output = await attack(box, source, str(tmp_path))
    assert output.value == "tried all\n"
    assert list(tmp_path.iterdir()) == [victim]
    assert victim.read_text() == "unharmed"
    assert (victim.stat().st_mode, victim.stat().st_mtime) == (before.st_mode, before.st_mtime)


async def test_its_folder_is_its_own_and_bounded(box: Sandbox):
    source = """
import os
print(os.listdir("."))
open("note", "w").write("x")
open(os.path.join(os.environ["TMPDIR"], "other"), "w").write("y")
print(sorted(os.listdir(".")))
try:
    with open("large", "wb") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
            file.flush()
except OSError:
    print("full at", os.stat("large").st_size <= 16 << 20)
"""
    for _ in range(2):
        assert (await attack(box, source)).value == "[]\n['note', 'other']\nfull at True\n"


async def test_no_secret_is_read(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_SECRET_KEY", "s3cr3t-value")
    hidden = tmp_path / "key"
    hidden.write_text("s3cr3t-value")
    source = """
import glob, os
print(dict(os.environ))
for path in [input(), *glob.glob("/proc/*/environ")]:
    try:
        print(open(path).read())
    except OSError:
        pass
print("tried all")
"""
    output = await attack(box, source, str(hidden))
    assert output.value is not None
    assert output.value.endswith("tried all\n")
    assert "A_SECRET_KEY" not in output.value
    assert not box.protection.reading or "s3cr3t-value" not in output.value


async def test_no_socket_is_opened(box: Sandbox):
    if not box.protection.network:
        pytest.skip("the kernel has neither namespaces nor seccomp here")
    source = """
import socket
port = int(input())
for family, kind, address in (
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)),
    (socket.AF_UNIX, socket.SOCK_STREAM, "\\0dynasor-sandbox-test"),
):
    try:
        one = socket.socket(family, kind)
        one.settimeout(0.2)
        one.connect(address)
        one.send(b"leak")
        print("did it")
    except OSError:
        pass
print("tried all")
"""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind("\0dynasor-sandbox-test")
        local.listen()
        output = await attack(box, source, str(server.getsockname()[1]))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert output.value == "tried all\n"


async def test_no_other_process_is_signalled(box: Sandbox):
    if not box.protection.signals:
        pytest.skip("the kernel has neither namespaces nor seccomp here")
    source = """
import os, resource, signal
victim = int(input())
for attempt in (
    lambda: os.kill(victim, signal.SIGTERM),
    lambda: os.kill(os.getppid(), signal.SIGKILL),
    lambda: os.killpg(os.getpgid(os.getppid()) or 2**22, signal.SIGTERM),
    lambda: os.kill(-1, signal.SIGCONT),
    lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3)),
    lambda: os.sched_setaffinity(os.getppid(), {0}),
):
    try:
        attempt()
    except OSError:
        pass
print("tried all")
"""
    with subprocess.Popen(["sleep", "60"]) as victim:  # noqa: ASYNC220
        try:
            output = await attack(box, source, str(victim.pid))
            assert victim.poll() is None
        finally:
            victim.send_signal(signal.SIGKILL)
    assert output.value == "tried all\n"


async def test_a_grandchild_that_leaves_its_session_ends_with_the_program(box: Sandbox):
    source = """
import os, signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
except OSError:
    pass
print("went on")
"""
    assert (await attack(box, source)).value == "went on\n"


async def test_a_faked_result_is_believed_of_nobody_else(box: Sandbox):
    faked = json.dumps({"value": "42"}).encode()
    source = f"""
import os, struct
reply = struct.pack("!I", {len(faked)}) + {faked!r}
for fd in range(3, 70):
    try:
        os.write(fd, reply)
    except OSError:
        pass
def f(x):
    return x
"""
    await box.run(GOOD)
    first = await box.run(Script(source, [[1], [2]], "f"))
    assert {output.failure for output in first.outputs} == {"crash"}
    second = await box.run(Script("def f(x): return x", [[1], [2]], "f"))
    assert second.values == ("1", "2")


@pytest.mark.parametrize(
    "games",
    [
        pytest.param("os.symlink(target, 'link')", id="link-to-a-folder"),
        pytest.param("os.symlink(target + '/victim', 'link')", id="link-to-a-file"),
        pytest.param("os.mkdir('a', 0o000); os.symlink(target, 'b')", id="unreadable"),
        pytest.param("os.mkdir('a'); os.symlink(target, 'a/x'); os.mkfifo('a/pipe')", id="pipe"),
        pytest.param("[(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]", id="deep"),
        pytest.param("[open(str(i), 'w').close() for i in range(3000)]", id="many"),
        pytest.param("os.rmdir(os.getcwd())", id="folder-itself"),
    ],
)
async def test_clearing_up_follows_no_link(box: Sandbox, games: str, tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_text("unharmed")
    await attack(box, f"import os\ntarget = input()\n{games}", str(tmp_path))
    assert victim.read_text() == "unharmed"
    assert (await box.run(Script("import os; print(os.listdir('.'))", [""]))).values == ("[]\n",)
