"""The system calls a container may make.

The profile is the one container engines share (`/usr/share/containers/seccomp.json`). What of it applies to our
capability set and this machine is chosen by a pure function; libseccomp then compiles it once per process, and crun
gets the finished filter with every container. Left to itself it would compile the same rules anew for each: 8 of 16 ms.
"""

import base64
import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from krater.errors import Permanent

PROFILE: Final = "/usr/share/containers/seccomp.json"

# The default set of containers-common, without those for device nodes and audit records. Raw sockets stay because the
# `ping` of many images (busybox of Debian, cirros) knows no other way; the network's rules refuse forged addresses.
CAPABILITIES: Final = frozenset(
    {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)

# By number, as the kernel's header has them.
_NAMES: Final = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    *("CHECKPOINT_RESTORE",),
)

_GO_NAMES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "x86"}
_MAIN_ARCHITECTURE: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_COMPARISONS: Final = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_UNKNOWN_CALL: Final = -1
_EEXIST: Final = 17
_EPERM: Final = 1
_ENOSYS: Final = 38

# The shared profile lets everybody make namespaces: with a user namespace one is root enough to mount, to make network
# devices and to load firewall rules, which is where the kernel's holes are found. Nested engines are not worth that.
_NAMESPACE_FLAGS: Final = 0x7E020000
_NAMESPACE_CALLS: Final = (
    *("unshare", "setns", "mount", "umount", "umount2", "pivot_root"),
    *("open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig", "fsmount", "fspick"),
)

Document = dict[str, Any]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter in one of two forms: compiled (base64, for crun) or as rules (for runc). Neither: none at all."""

    compiled: str | None = None
    rules: Document | None = None


def own_capabilities(status: str = "/proc/self/status") -> frozenset[str]:
    """The capabilities this process can hand on: all that a privileged container can get."""
    with open(status) as file:
        held = next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd:"))
    return frozenset(f"CAP_{name}" for number, name in enumerate(_NAMES) if held >> number & 1)


def select(profile: Mapping[str, Any], machine: str, capabilities: frozenset[str]) -> Document:
    """What of a profile applies here, in the form of the OCI runtime specification. Pure."""
    name = _GO_NAMES.get(machine, machine)
    main = _MAIN_ARCHITECTURE.get(machine)
    architectures = [
        architecture
        for entry in profile.get("archMap") or ()
        if entry["architecture"] == main
        for architecture in (entry["architecture"], *(entry.get("subArchitectures") or ()))
    ]
    calls = []
    for rule in profile["syscalls"]:
        if _applies(rule, name, capabilities):
            call: Document = {"names": rule["names"], "action": rule["action"], "args": rule.get("args") or []}
            if rule["action"] == "SCMP_ACT_ERRNO":
                call["errnoRet"] = rule.get("errnoRet", _EPERM)
            calls.append(call)
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", _EPERM),
        "architectures": architectures,
        "syscalls": calls,
    }


def without_namespaces(rules: Document) -> Document:
    """The same rules, but nobody makes or enters a namespace, or mounts in one. Pure.

    `clone` may have none of the flags that make them. `clone3` has them where a filter cannot look: to programs it is
    not there, and they use `clone`.
    """
    mine = {*_NAMESPACE_CALLS, "clone", "clone3"}
    others = [{**rule, "names": [name for name in rule["names"] if name not in mine]} for rule in rules["syscalls"]]
    plain_clone = {"index": 0, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    own = [
        {"names": [*_NAMESPACE_CALLS], "action": "SCMP_ACT_ERRNO", "args": [], "errnoRet": _EPERM},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "args": [], "errnoRet": _ENOSYS},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [plain_clone]},
    ]
    return {**rules, "syscalls": [rule for rule in others if rule["names"]] + own}


def _applies(rule: Mapping[str, Any], name: str, capabilities: frozenset[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if "arches" in includes and name not in includes["arches"]:
        return False
    if name in excludes.get("arches", ()):
        return False
    if not set(includes.get("caps", ())) <= capabilities:
        return False
    return not capabilities & set(excludes.get("caps", ()))


def load(compiled: bool, path: str = PROFILE) -> Filter:
    """The filter for containers of this host, compiled if the runtime takes it so and libseccomp can be used."""
    try:
        with open(path, "rb") as file:
            profile = msgspec.json.decode(file.read())
            rules = without_namespaces(select(profile, os.uname().machine, CAPABILITIES))
    except (FileNotFoundError, msgspec.MsgspecError, KeyError) as error:
        # without it containers would be less locked in than promised, so there are none
        raise Permanent(f"no usable seccomp profile at {path}: install containers-common") from error
    if not compiled:
        return Filter(rules=rules)
    try:
        return Filter(compiled=base64.b64encode(compile_filter(rules)).decode())
    except OSError as error:
        log.warning("seccomp filter is compiled anew for every container", reason=str(error))
        return Filter(rules=rules)


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def compile_filter(rules: Mapping[str, Any]) -> bytes:
    """Rules as a program for the kernel, by libseccomp. OSError when the library cannot be used."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    context = ctypes.c_void_p(library.seccomp_init(_action(rules["defaultAction"], rules["defaultErrnoRet"])))
    if context.value is None:
        raise OSError("libseccomp does not start")
    try:
        for architecture in rules["architectures"]:
            token = library.seccomp_arch_resolve_name(architecture.removeprefix("SCMP_ARCH_").lower().encode())
            _expect(library.seccomp_arch_add(context, ctypes.c_uint32(token)), "architecture", ok=(0, -_EEXIST))
        for rule in rules["syscalls"]:
            _add(library, context, rule, rules)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, rule: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    action = _action(rule["action"], rule.get("errnoRet", _EPERM))
    if action == _action(rules["defaultAction"], rules["defaultErrnoRet"]):
        return  # libseccomp refuses a rule that says what happens anyway
    comparisons = [
        _Comparison(a["index"], _COMPARISONS[a["op"]], a.get("value", 0), a.get("valueTwo", 0)) for a in rule["args"]
    ]
    packed = (_Comparison * len(comparisons))(*comparisons)
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != _UNKNOWN_CALL:  # a call this kernel or library has not heard of is denied by default
            result = library.seccomp_rule_add_array(
                context, ctypes.c_uint32(action), number, ctypes.c_uint(len(comparisons)), packed
            )
            _expect(result, name)


def _export(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    descriptor = os.memfd_create("seccomp")
    with open(descriptor, "rb") as file:
        _expect(library.seccomp_export_bpf(context, descriptor), "export")
        os.lseek(descriptor, 0, os.SEEK_SET)
        return file.read()


def _action(name: str, number: int) -> int:
    match name:
        case "SCMP_ACT_ALLOW":
            return 0x7FFF0000
        case "SCMP_ACT_ERRNO":
            return 0x00050000 | (number & 0xFFFF)
        case "SCMP_ACT_KILL_PROCESS":
            return 0x80000000
        case "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD":
            return 0
        case "SCMP_ACT_LOG":
            return 0x7FFC0000
        case _:
            raise OSError(f"unknown action {name}")


def _expect(result: int, what: str, ok: tuple[int, ...] = (0,)) -> None:
    if result not in ok:
        raise OSError(-result, f"libseccomp: {what}: {os.strerror(abs(result))}")
