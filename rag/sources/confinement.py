"""Take from a process of Linux what a reader of files does not need.

A parser that a document takes over is to find no network, no other file, no other process and no
key. Linux lets a process give these up without any right of its own: Landlock bounds the files that
it may open, and a filter of system calls (seccomp) refuses sockets, programs and the processes of
others. No library that is kept up offers both; the calls are few, and none is needed to work.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import rag
from rag.plugins import plugins

# What a filter of system calls is told of this processor (linux/audit.h), and the numbers of the
# calls (asm/unistd.h). The ones above 420 are the same on all.
_SAME = {
    "io_uring_setup": 425, "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440,
    "mount_setattr": 442, "fchmodat2": 452,
}  # fmt: skip
_CALLS = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41, "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58, "execve": 59,
            "kill": 62, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94,
            "ptrace": 101, "rt_sigqueueinfo": 129, "pivot_root": 155, "chroot": 161, "mount": 165,
            "umount2": 166, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
            "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "tkill": 200,
            "add_key": 248, "request_key": 249, "keyctl": 250, "fchownat": 260, "fchmodat": 268,
            "unshare": 272, "rt_tgsigqueueinfo": 297, "perf_event_open": 298,
            "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
            "process_vm_writev": 311, "bpf": 321, "execveat": 322, "userfaultfd": 323, **_SAME,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
            "fremovexattr": 16, "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51,
            "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "unshare": 97,
            "ptrace": 117, "kill": 129, "tkill": 130, "rt_sigqueueinfo": 138, "socket": 198,
            "socketpair": 199, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220,
            "execve": 221, "rt_tgsigqueueinfo": 240, "perf_event_open": 241,
            "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
            "process_vm_writev": 271, "bpf": 280, "execveat": 281, "userfaultfd": 282, **_SAME,
        },
    ),
}  # fmt: skip
_CLONE3, _X32 = 435, 0x40000000
_CLONE_THREAD = 0x10000
_EPERM, _ENOSYS = 1, 38

# linux/prctl.h, linux/seccomp.h, linux/filter.h
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IS, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000

# linux/landlock.h: what may be done with files, by the version that knows it.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_ONLY, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR, _REMOVE_DIR = 1 << 2, 1 << 3, 1 << 4
_ON_FILES = 1 << 0 | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NO_TCP, _NOTHING_ABROAD = 0b11, 0b11

# What the C library, Python and its modules read while they work.
_SYSTEM = (
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/share", "/lib", "/lib64"),
    *("/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/sys/devices/system/cpu"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo"),
)


def confine(within: Sequence[str] | None, scratch: Path) -> tuple[str, ...]:
    """Give up what this process does not need; return what it gave up: `files`, `calls`.

    From then on it reads Python, its libraries and what lies `within` (None: every file), and
    writes into `scratch`. It opens no socket, starts no program and no process, and reaches no
    other process. What the system does not know is left out.
    """
    if sys.platform != "linux":
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.prctl(_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        return ()
    given_up = []
    if within is not None and _bound_files(libc, [*within, *_python()], scratch):
        given_up.append("files")
    if _refuse_calls(libc):
        given_up.append("calls")
    return tuple(given_up)


def _python() -> Iterable[str]:
    """Yield the places of Python, of its libraries and of the readers that packages bring.

    A place in the path for imports that holds the user's home gives nothing away.
    """
    yield from _SYSTEM
    yield str(Path(rag.__file__).resolve().parent)
    home = Path("~").expanduser()
    for place in (*sys.path, sys.prefix, sys.base_prefix, sys.exec_prefix):
        path = Path(place).resolve()
        if not home.is_relative_to(path):
            yield str(path)
    for entry in plugins("rag.readers").values():
        with suppress(ImportError, ValueError, AttributeError):
            spec = find_spec(entry.module.partition(".")[0])
            if spec is not None:
                yield from spec.submodule_search_locations or [spec.origin or ""]
    # Libraries that were linked from elsewhere, such as those of Homebrew.
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            file = line.split(maxsplit=5)[5:]
            if file and ".so" in file[0]:
                yield str(Path(file[0]).parent)


def _bound_files(libc: ctypes.CDLL, readable: Iterable[str], scratch: Path) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_ONLY)
    if version < 1:
        return False
    rights = _RIGHTS[max(known for known in _RIGHTS if known <= version)]
    network = _NO_TCP if version >= 4 else 0
    abroad = _NOTHING_ABROAD if version >= 6 else 0
    handled = struct.pack("QQQ", rights, network, abroad)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    try:
        for place in dict.fromkeys(readable):
            _allow(libc, rules, place, rights & (_READ_FILE | _READ_DIR))
        _allow(libc, rules, str(scratch), rights & ~1)
        # It deletes its folder at its end.
        _allow(libc, rules, str(scratch.parent), rights & _REMOVE_DIR)
        return not libc.syscall(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, place: str, rights: int) -> None:
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # A rule for a file may name nothing that only folders know.
        known = rights if Path(place).is_dir() else rights & _ON_FILES
        rule = struct.pack("=Qi", known, handle)
        libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)


def _refuse_calls(libc: ctypes.CDLL) -> bool:
    known = _CALLS.get(platform.machine())
    if known is None or sys.maxsize < 1 << 32:
        return False
    program = b"".join(_filter(*known))
    lines = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(lines))
    nothing = ctypes.c_ulong(0)
    failed = libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), described, nothing, nothing)
    return not failed


def _filter(processor: int, calls: dict[str, int]) -> list[bytes]:
    """Return the lines of a filter that refuses the calls, and a new process that is no thread."""
    refused = sorted(number for name, number in calls.items() if name != "clone")

    def line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    checks = [
        line(_LOAD, 4),
        line(_IS, processor, 1, 0),
        line(_RETURN, _REFUSE | _EPERM),
        line(_LOAD, 0),
        line(_AT_LEAST, _X32, 0, 1),
        line(_RETURN, _REFUSE | _EPERM),
        # The C library then begins a thread by the older call, whose flags can be read.
        line(_IS, _CLONE3, 0, 1),
        line(_RETURN, _REFUSE | _ENOSYS),
        line(_IS, calls["clone"], 0, 3),
        line(_LOAD, 16),
        line(_ANY_BIT, _CLONE_THREAD, len(refused) + 1, 0),
        line(_RETURN, _REFUSE | _EPERM),
    ]
    for at, number in enumerate(refused):
        checks.append(line(_IS, number, len(refused) - at, 0))
    return [*checks, line(_RETURN, _ALLOW), line(_RETURN, _REFUSE | _EPERM)]
