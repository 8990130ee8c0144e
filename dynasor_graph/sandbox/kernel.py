"""Kernel: the calls by which Linux confines a process, and which Python 3.11 has not got."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "NAMESPACES",
    "drop_capabilities",
    "filter_system_calls",
    "make_read_only",
    "mount",
    "no_new_privileges",
    "not_dumpable",
    "pivot",
    "restrict_files",
    "unshare",
]

_C = ctypes.CDLL(None, use_errno=True)

# linux/sched.h: mount, UTS, IPC, user, pid, network
NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_CGROUP_NAMESPACE = 0x02000000
_THREAD = 0x00010000

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(number: int, what: str, *arguments: object) -> int:
    return _check(int(_C.syscall(ctypes.c_long(number), *arguments)), what)


def _prctl(option: int, *arguments: int) -> None:
    _check(_C.prctl(option, *[ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]), "prctl")


def unshare(flags: int) -> None:
    """Leave the namespaces of the parent; the new pid namespace is that of the next child."""
    _check(_C.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount, as the system call of that name."""
    given = kind.encode() if kind else None
    _check(
        _C.mount(
            source.encode(), target.encode(), given, ctypes.c_ulong(flags), data.encode() or None
        ),
        f"mount {target}",
    )


def make_read_only(path: str, *, below: bool) -> None:
    """Make a mount read-only and deaf to set-user-id; with what is mounted below it, or alone.

    `mount_setattr` (Linux 5.12) adds to what is set, where a remount would have to repeat it.
    """
    attributes = struct.pack("QQQQ", 0x1 | 0x2, 0, 0, 0)
    flags = 0x8000 if below else 0
    _call(442, "mount_setattr", -100, path.encode(), flags, attributes, len(attributes))


def pivot(root: str) -> None:
    """Make `root` the root, and let go of the old one."""
    os.chdir(root)
    _call({"x86_64": 155}.get(platform.machine(), 41), "pivot_root", b".", b".")
    _check(_C.umount2(b".", 2), "umount")
    os.chdir("/")


def not_dumpable(value: bool = True) -> None:
    """Whether other processes of the same user may look into this one."""
    _prctl(4, 0 if value else 1)


def no_new_privileges() -> None:
    """From here on no program that is executed gains anything."""
    _prctl(38, 1)


def drop_capabilities() -> None:
    """Give up every capability, for good."""
    for capability in range(64):
        if _C.prctl(24, capability, 0, 0, 0) != 0:
            break  # the kernel knows no more, or there was none to drop
    header = struct.pack("Ii", 0x20080522, 0)
    _check(_C.capset(header, struct.pack("6I", *[0] * 6)), "capset")


# Landlock: files by path, TCP, and signals out of its domain --------------------------------------

_READ = 0b1101  # execute, read a file, read a folder
_ALL = (1 << 13) - 1
_OF_A_FILE = 0b111  # execute, write, read


def restrict_files(readable: Iterable[str], writable: str) -> bool:
    """Let nothing be read but what is below `readable`, nothing be written but below `writable`.

    Returns:
        Whether the kernel can do it (Linux 5.13 with Landlock on).
    """
    version = int(_C.syscall(ctypes.c_long(444), None, ctypes.c_size_t(0), 1))
    if version < 1:
        return False
    files = _ALL | (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("QQQ", files, network, scope)[:size]
    ruleset = _call(444, "landlock", attributes, ctypes.c_size_t(size), 0)
    devices = [(f"/dev/{name}", 0b110) for name in ("null", "zero", "urandom")]
    for path, access in [*((path, _READ) for path in readable), (writable, files), *devices]:
        if not Path(path).exists():
            continue
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = access if Path(path).is_dir() else access & _OF_A_FILE
        _call(445, "landlock", ruleset, 1, struct.pack("=Qi", allowed, beneath), 0)
        os.close(beneath)
    _call(446, "landlock", ruleset, 0)
    os.close(ruleset)
    return True


# Seccomp: system calls by number ------------------------------------------------------------------

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS: dict[str, tuple[int, int]] = {  # on x86_64, on aarch64; -1: there is none
    "socket": (41, 198),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fork": (57, -1),
    "vfork": (58, -1),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),  # memory that no limit counts
    "memfd_secret": (447, 447),
    # What Landlock does not see: who owns a file, who may read it, when it was changed.
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, -1),
    "lchown": (94, -1),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, -1),
    "utimes": (235, -1),
    "futimesat": (261, -1),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
_OWN_PROCESS_ONLY = ("kill", "tgkill")
_OTHER_PROCESSES = (
    "fork",
    "vfork",
    "tkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_send_signal",
    *_OWN_PROCESS_ONLY,
)
_FIRST_ARGUMENT_0 = ("prlimit64", "sched_setaffinity")
_FILES = tuple(_NUMBERS)[tuple(_NUMBERS).index("chmod") :]

_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38


def filter_system_calls(*, alone: bool) -> bool:
    """Refuse the system calls that reach out of the process: sockets, other processes, mounts.

    Args:
        alone: Also refuse new processes, signals to any other, and changes of a file's owner, mode
            and times: for a process that no namespace hides from others.

    Returns:
        Whether the kernel can do it, on this architecture.
    """
    if platform.machine() not in _ARCHITECTURES:
        return False
    column = list(_ARCHITECTURES).index(platform.machine())
    # Each is (code, jump if true, jump if false, value), as linux/filter.h has it.
    rules: list[tuple[int, int, int, int]] = [
        (0x20, 0, 0, 4),  # the architecture
        (0x15, 1, 0, _ARCHITECTURES[platform.machine()]),
        (0x06, 0, 0, _KILL),
        (0x20, 0, 0, 0),  # the number of the call
        (0x35, 0, 1, 0x40000000),  # the numbers of x32, another way to all of them
        (0x06, 0, 0, _REFUSE | _ENOSYS),
    ]

    def when(name: str, *then: tuple[int, int, int, int]) -> None:
        number = _NUMBERS[name][column]
        if number >= 0:
            rules.append((0x15, 0, len(then), number))
            rules.extend(then)

    refuse = (0x06, 0, 0, _REFUSE | _EPERM)
    allow = (0x06, 0, 0, _ALLOW)
    first_argument = (0x20, 0, 0, 16)  # its lower half; flags and pids have no upper
    if alone:
        for name in _OWN_PROCESS_ONLY:
            when(name, first_argument, (0x15, 0, 1, os.getpid()), allow, refuse)
        when("clone", first_argument, (0x45, 0, 1, _THREAD), allow, refuse)
    else:
        made = (0x45, 0, 1, NAMESPACES | _CGROUP_NAMESPACE)
        when("clone", first_argument, made, refuse, allow)
    when("clone3", (0x06, 0, 0, _REFUSE | _ENOSYS))  # its flags cannot be read; clone is used then
    for name in _FIRST_ARGUMENT_0:
        when(name, first_argument, (0x15, 0, 1, 0), allow, refuse)
    special = {"clone", "clone3", *_FIRST_ARGUMENT_0, *_OWN_PROCESS_ONLY}
    spared: set[str] = set() if alone else {*_OTHER_PROCESSES, *_FILES}
    for name in _NUMBERS:
        if name not in special | spared:
            when(name, refuse)
    rules.append(allow)
    code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(kept))
    return int(_C.prctl(22, 2, ctypes.c_char_p(program), 0, 0)) == 0
