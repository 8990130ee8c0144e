"""Confinement: what shuts a worker in before its first program, and each program before it runs."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dynasor_graph.sandbox import kernel

__all__ = ["WORK", "Confinement", "enter_namespaces", "enter_rlimits", "readable_paths"]

WORK = "/program"
"""A program's folder, as it sees it from within a namespace."""

_NOBODY = 65534


@dataclass(frozen=True)
class Confinement:
    """How the programs of a worker are shut in.

    Attributes:
        namespaces: Whether they have a view of processes, files and network of their own.
        folder: Where they may write.
        user: As whom they run; None: as the worker does.
        beside: Processes of that user which are counted with theirs.
    """

    namespaces: bool
    folder: str
    user: int | None
    beside: int

    def processes(self, limit: int) -> int:
        """What to set RLIMIT_NPROC to, which counts the user's processes."""
        return limit + self.beside if self.namespaces else 0

    def close(self) -> None:
        """In the child: give up what a program does not need, for good."""
        if self.user is not None:
            os.setgroups([])
            os.setresgid(self.user, self.user, self.user)
            os.setresuid(self.user, self.user, self.user)
        kernel.drop_capabilities()
        kernel.no_new_privileges()
        if not self.namespaces:
            kernel.restrict_files(readable_paths(), self.folder)
        kernel.filter_system_calls(alone=not self.namespaces)


def readable_paths() -> list[str]:
    """What an interpreter needs to read: itself, its libraries, and the system's."""
    paths = {sys.base_prefix, sys.prefix, sys.base_exec_prefix, "/usr", "/lib", "/lib64", "/bin"}
    paths |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    real = sorted({os.path.realpath(path) for path in paths if Path(path).exists()} - {"/"})
    return [one for one in real if not any(one.startswith(f"{other}/") for other in real)]


def enter_rlimits(folder: str) -> Confinement:
    """Without namespaces: as another user where that is possible, which is for root only."""
    user = _NOBODY if os.geteuid() == 0 and _can_be(_NOBODY) else None
    if user is not None:
        os.chown(folder, user, user)
    return Confinement(namespaces=False, folder=folder, user=user, beside=0)


def _can_be(user: int) -> bool:
    """Whether a child may become that user, and still find the interpreter's files."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os._exit(0 if os.access(os.__file__, os.R_OK) else 1)
        except OSError:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def enter_namespaces(folder: str, size: int) -> Confinement:
    """Leave the host's processes, files and network; returns in the first process of the new ones.

    Args:
        folder: An empty one, to build the new root in.
        size: Bytes that programs may write.

    Raises:
        OSError: It is not allowed here. The process is of no use any more.
    """
    root = os.geteuid() == 0
    paths = readable_paths()
    _own_user_namespace(root)
    child = os.fork()
    if child:
        _stand_by(child)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    for path in paths:
        _bind(path, folder + path)
    for name in ("/bin", "/lib", "/lib64"):
        if Path(name).is_symlink() and not Path(folder + name).exists():
            Path(folder + name).symlink_to(os.path.realpath(name))
    for device in ("null", "zero", "urandom", "random"):
        _bind(f"/dev/{device}", f"{folder}/dev/{device}")
    Path(folder + WORK).mkdir()
    if not Path(folder + "/tmp").exists():  # else the interpreter itself lies in there
        Path(folder + "/tmp").symlink_to(WORK)
    kernel.pivot(folder)
    kernel.make_read_only("/", below=False)
    for path in (*paths, "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        kernel.make_read_only(path, below=True)
    data = f"size={size},nr_inodes=512,mode=700,uid={1 if root else 0}"
    kernel.mount("tmpfs", WORK, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, data)
    kernel.not_dumpable()
    # Of an ordinary user one id can be mapped: then this process and the one that stands by count.
    return Confinement(
        namespaces=True, folder=WORK, user=1 if root else None, beside=0 if root else 2
    )


def _own_user_namespace(root: bool) -> None:
    """Unshare everything. Root is mapped beside nobody, as whom programs run; others to themselves."""
    uid, gid = os.geteuid(), os.getegid()
    if not root:
        kernel.unshare(kernel.NAMESPACES)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
        return
    ready, begin = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:  # it stays outside, where root may map whom it likes
        os.close(begin)
        os.read(ready, 1)
        try:
            for of in ("uid", "gid"):
                _write(f"/proc/{parent}/{of}_map", f"0 0 1\n1 {_NOBODY} 1\n")
        except OSError:
            os._exit(1)
        os._exit(0)
    os.close(ready)
    try:
        kernel.unshare(kernel.NAMESPACES)
    finally:
        os.close(begin)
        failed = os.waitpid(child, 0)[1]
    if failed:
        raise OSError("ids cannot be mapped here")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _bind(path: str, target: str) -> None:
    where = Path(target)
    if Path(path).is_dir():
        where.mkdir(parents=True, exist_ok=True)
    else:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.touch()
    kernel.mount(path, target, None, kernel.MS_BIND | kernel.MS_REC)


def _stand_by(child: int) -> None:
    """Wait for the first process of the namespaces, and end as it does."""
    _close_all_but(())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.waitpid(child, 0)
    os._exit(0)


def _close_all_but(kept: Iterable[int]) -> None:
    at = 0
    for fd in [*sorted(kept), 4096]:
        os.closerange(at, fd)
        at = fd + 1
