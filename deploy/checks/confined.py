"""What the unit and the image take from the program, taken from a process that is about to become it."""

import ctypes
import ctypes.util
import os
import re

from . import DEPLOY, Skipped, run, tool

UNIT = DEPLOY / "systemd" / "adapterd.service"
ALLOW = 0x7FFF0000
ERROR = 0x00050000
# The image's.
ACCOUNT = 65532
NEW_MOUNTS = 0x00020000
BIND, REMOUNT, READ_ONLY, PRIVATE_BELOW = 0x1000, 0x20, 0x1, 0x40000 | 0x4000
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_SET_MDWE = 65


def members(analyze, group):
    """The system calls of a group of systemd's, those of groups inside it included."""
    found = set()
    for word in run(analyze, "syscall-filter", group).split("\n"):
        word = word.strip()
        if word.startswith("@") and word != group:
            found |= members(analyze, word)
        elif re.fullmatch(r"[a-z0-9_]+", word):
            found.add(word)
    return found


def allowed_calls():
    """What the unit's filter leaves, as systemd reads it: the first list allows, later ones take away or add."""
    analyze = tool("systemd-analyze", "apt-get install systemd")
    allowed = members(analyze, "@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(encoding="utf-8"), re.M):
        takes_away = line.startswith("~")
        for name in line.lstrip("~").split():
            calls = members(analyze, name) if name.startswith("@") else {name}
            allowed = allowed - calls if takes_away else allowed | calls
    return allowed


def confinement():
    """A function that leaves the process that calls it the unit's system calls, for `preexec_fn`."""
    path = ctypes.util.find_library("seccomp")
    if not path:
        raise Skipped("needs libseccomp: apt-get install libseccomp2")
    seccomp = ctypes.CDLL(path, use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
    seccomp.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    allowed = allowed_calls()
    # EPERM, as the unit says.
    rules = seccomp.seccomp_init(ctypes.c_uint32(ERROR | 1))
    for name in sorted(allowed):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(rules, ALLOW, number, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    write_or_execute = "MemoryDenyWriteExecute=yes" in UNIT.read_text(encoding="utf-8")

    def confine():
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if write_or_execute:
            # Kernels before 6.3 do not know it.
            libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)
        if seccomp.seccomp_load(rules) != 0:
            raise OSError("the filter cannot be loaded")

    return confine


def read_only_root(writable):
    """A function that leaves a process only the folder `writable` to write, and an account without rights, for `preexec_fn`."""
    if os.geteuid() != 0:
        raise Skipped("needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    folder = str(writable).encode()
    for file in [writable, *writable.rglob("*")]:
        os.chown(file, ACCOUNT, ACCOUNT)

    def confine():
        steps = [
            libc.unshare(NEW_MOUNTS),
            libc.mount(None, b"/", None, ctypes.c_ulong(PRIVATE_BELOW), None),
            libc.mount(folder, folder, None, ctypes.c_ulong(BIND), None),
            libc.mount(None, b"/", None, ctypes.c_ulong(REMOUNT | BIND | READ_ONLY), None),
        ]
        if any(steps):
            raise OSError("the root cannot be made read-only")
        for right in range(64):
            libc.prctl(PR_CAPBSET_DROP, right, 0, 0, 0)
        os.setgroups([])
        os.setgid(ACCOUNT)
        os.setuid(ACCOUNT)

    return confine
