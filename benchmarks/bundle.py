"""The OCI bundle of the bare reference: the same hardening as Krater's containers have, written down by hand."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from benchmarks.contenders import COMMAND, CPUS, IMAGE, MEMORY_MIB, PIDS

PROFILE = Path("/usr/share/containers/seccomp.json")
IMAGE_FILE = "image.tar"

CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "KILL",
        "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
]  # fmt: skip

MASKED = ["acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"]
READ_ONLY = ["bus", "fs", "irq", "sys", "sysrq-trigger"]


def write_image(directory: Path) -> Path:
    """The image archive that all contenders run."""
    path = directory / IMAGE_FILE
    maker = Path(__file__).resolve().parent.parent / "tools/busybox_image.py"
    subprocess.run([sys.executable, str(maker), str(path), "--name", IMAGE], check=True)
    return path


def unpack_image(archive: Path, root: Path) -> None:
    """The root file system of an archive of `docker save`, its layers one over the other."""
    root.mkdir(parents=True)
    with tarfile.open(archive) as members:
        manifest = members.extractfile("manifest.json")
        assert manifest is not None
        layers = json.loads(manifest.read())[0]["Layers"]
    for layer in layers:
        with subprocess.Popen(["tar", "-xOf", str(archive), layer], stdout=subprocess.PIPE) as content:
            subprocess.run(["tar", "-x", "-C", str(root)], stdin=content.stdout, check=True)


def _mounts() -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*quiet, "mode=1777", "size=65536k"]},  # noqa: S108
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
    ]


def spec(root: Path, cgroup: str, seccomp: dict[str, Any] | None, compiled: str | None) -> dict[str, Any]:
    """The OCI configuration. `compiled` is crun's own seccomp filter in base64, which saves compiling the profile."""
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
        + [{"type": "network", "path": "@NET@"}],
        "cgroupsPath": cgroup,
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": MEMORY_MIB << 20},
            "cpu": {"shares": 1024, "quota": CPUS * 100000, "period": 100000},
            "pids": {"limit": PIDS},
        },
        "maskedPaths": [f"/proc/{name}" for name in MASKED] + ["/sys/firmware"],
        "readonlyPaths": [f"/proc/{name}" for name in READ_ONLY],
    }
    if seccomp is not None:
        linux["seccomp"] = seccomp
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(COMMAND),
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
            "oomScoreAdj": 0,
        },
        "root": {"path": str(root)},
        "hostname": "bare",
        "mounts": _mounts(),
        "annotations": {"run.oci.seccomp_bpf_data": compiled} if compiled else {},
        "linux": linux,
    }


def seccomp_profile(text: str, architecture: str = "amd64") -> dict[str, Any]:
    """The profile of containers-common as OCI has it, for the capabilities above: conditions resolved."""
    profile = json.loads(text)
    rules = []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if not set(includes.get("caps", ())) <= set(CAPABILITIES) or set(excludes.get("caps", ())) & set(CAPABILITIES):
            continue
        if architecture not in includes.get("arches", [architecture]) or architecture in excludes.get("arches", ()):
            continue
        kept = {"names": rule["names"], "action": rule["action"]}
        if rule.get("args"):
            kept["args"] = rule["args"]
        if rule.get("errnoRet") is not None:
            kept["errnoRet"] = rule["errnoRet"]
        rules.append(kept)
    architectures = [
        name
        for entry in profile.get("archMap", ())
        if entry["architecture"] == {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}.get(architecture)
        for name in (entry["architecture"], *entry["subArchitectures"])
    ]
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
        "architectures": architectures,
        "syscalls": rules,
    }
