"""The OCI document of a container, as a pure function."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.agent.runtimes.interfaces import ContainerConfig, Group, Mount
from krater.agent.runtimes.oci import spec
from krater.agent.runtimes.oci.layout import Layout
from krater.agent.runtimes.oci.rooted import User
from krater.agent.runtimes.oci.seccomp import CAPABILITIES, Filter
from krater.errors import Permanent
from krater.model.image import ImageFacts
from krater.model.workload import ContainerSpec, Resources

IMAGE = ImageFacts("box", "sha256:0", 1, command=("serve",), environment=("PATH=/image", "MODE=image"), workdir="/srv")
HOST = spec.HostFacts(limits_swap=True, open_files=20_000)
PATHS = Layout("/k").container("c1")


def wanted(mounts: tuple[Mount, ...] = (), **changes: Any) -> ContainerConfig:
    one = ContainerSpec("c1", "name", "box", changes.pop("resources", Resources(0.5, 64)), **changes)
    return ContainerConfig("c1", 0, one, "box", "/n", ("10.0.0.1",), ("example",), (("10.0.0.2", "web"),), mounts)


def built(user: User | None = None, filter: Filter | None = None, **changes: Any) -> dict[str, Any]:
    config = wanted(**changes)
    return spec.build(config, IMAGE, user or User(), PATHS, HOST, filter or Filter(compiled="QUJD"), "/proc/1/fd/3")


def test_the_users_environment_wins_over_the_images() -> None:
    environment = built(environment={"MODE": "user", "MORE": "x"})["process"]["env"]
    assert {"PATH=/image", "HOSTNAME=box", "HOME=/", "MODE=user", "MORE=x"} == set(environment)


def test_a_terminal_has_a_type() -> None:
    process = built(tty=True)["process"]
    assert process["terminal"]
    assert "TERM=xterm" in process["env"]


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, None, (("e",), ("c",))),
        (None, ("x",), (("e",), ("x",))),
        (("y",), None, (("y",), ())),
        (("y",), ("x",), (("y",), ("x",))),
        ((), ("x",), ((), ("x",))),
    ],
)
def test_an_entrypoint_of_ones_own_drops_the_images_command(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...] | None, expected: tuple[tuple[str, ...], ...]
) -> None:
    image = ImageFacts("i", "d", 1, entrypoint=("e",), command=("c",))
    assert spec.effective_command(wanted(entrypoint=entrypoint, command=command).spec, image) == expected


def test_without_anything_to_run_there_is_no_container() -> None:
    with pytest.raises(Permanent):
        spec.effective_command(wanted().spec, ImageFacts("i", "d", 1))


def test_limits() -> None:
    limits = built()["linux"]["resources"]
    assert limits["cpu"] == {"shares": 512, "quota": 50_000, "period": 100_000}
    assert limits["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert limits["pids"] == {"limit": HOST.pids_limit}
    unlimited = built(resources=Resources(0, 0))["linux"]["resources"]
    assert "cpu" not in unlimited
    assert "memory" not in unlimited
    assert "pids" in unlimited


def in_group(cpu: float = 0.0, **changes: Any) -> dict[str, Any]:
    config = replace(wanted(**changes), group=Group("g1", cpu))
    shared = Layout("/k").group("g1")
    return spec.build(config, IMAGE, User(), PATHS, HOST, Filter(compiled="QUJD"), "/proc/1/fd/3", shared)


def test_a_member_shares_ipc_and_shm_and_lies_in_its_group() -> None:
    linux, mounts = in_group()["linux"], in_group()["mounts"]
    assert linux["cgroupsPath"] == "/krater/g1/c1"
    joined = {n["type"]: n["path"] for n in linux["namespaces"] if "path" in n}
    assert joined == {"network": "/proc/1/fd/3", "ipc": "/k/groups/g1/ipc"}
    assert sorted(n["type"] for n in linux["namespaces"]) == ["cgroup", "ipc", "mount", "network", "pid", "uts"]
    (shm,) = [mount for mount in mounts if mount["destination"] == "/dev/shm"]
    assert (shm["type"], shm["source"]) == ("bind", "/k/groups/g1/shm")
    assert {"nosuid", "nodev", "noexec"} < set(shm["options"])
    order = [mount["destination"] for mount in mounts]
    assert order.index("/dev") < order.index("/dev/shm")


@pytest.mark.parametrize(
    ("whole", "limits", "expected"),
    [
        (0.0, None, {"shares": 512, "quota": 50_000, "period": 100_000}),
        (1.0, Resources(0, 0), {"shares": 512}),
        (1.0, Resources(0.25, 32), {"shares": 512, "quota": 25_000, "period": 100_000}),
        (1.0, Resources(3.0, 0), {"shares": 512, "quota": 100_000, "period": 100_000}),  # version 1 refuses more
    ],
)
def test_a_member_has_the_limits_of_its_own_and_a_share(
    whole: float, limits: Resources | None, expected: dict[str, int]
) -> None:
    made = in_group(whole, limits=limits)["linux"]["resources"]
    assert made["cpu"] == expected
    memory = 64 if limits is None else limits.memory
    assert made.get("memory", {"limit": 0})["limit"] == memory << 20


def test_other_limits_of_a_member_change_neither_its_share_nor_what_it_counts_with() -> None:
    lone, member = wanted().spec, wanted(limits=Resources(0, 0)).spec
    assert spec.limited(lone, 2.0, 128).resources == Resources(2.0, 128)
    changed = spec.limited(member, 2.0, 128)
    assert (changed.resources, changed.limit) == (member.resources, Resources(2.0, 128))


def test_the_kernel_is_not_asked_for_less_than_it_can() -> None:
    assert spec.resources(0.001, 6, HOST)["cpu"] == {"shares": 2, "quota": 1000, "period": 100_000}


def test_root_has_a_few_capabilities_and_others_have_none() -> None:
    root, other = built()["process"]["capabilities"], built(User(1000, 1000))["process"]["capabilities"]
    assert set(root["effective"]) == set(root["permitted"]) == CAPABILITIES
    assert other["effective"] == other["permitted"] == other["ambient"] == []
    assert not CAPABILITIES & {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_MKNOD", "CAP_SYS_PTRACE", "CAP_SYS_MODULE"}


def test_every_container_has_namespaces_of_its_own_and_our_network() -> None:
    namespaces = built()["linux"]["namespaces"]
    assert {n["type"] for n in namespaces} == {"pid", "mount", "uts", "ipc", "cgroup", "network"}
    assert [n["path"] for n in namespaces if "path" in n] == ["/proc/1/fd/3"]


def test_open_files_are_capped_to_what_the_host_allows() -> None:
    (files,) = [limit for limit in built()["process"]["rlimits"] if limit["type"] == "RLIMIT_NOFILE"]
    assert files["soft"] == files["hard"] == 20_000


def test_rules_go_to_runtimes_that_compile_themselves() -> None:
    document = built(filter=Filter(rules={"defaultAction": "SCMP_ACT_ERRNO"}))
    assert document["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO"}
    assert "annotations" not in document


def test_inner_mounts_come_after_outer_ones_and_may_replace_our_files() -> None:
    mounts = (Mount("/a", "/data/in/deep"), Mount("/b", "/data", read_only=True), Mount("/c", "/etc/hosts"))
    found = [m for m in built(mounts=mounts)["mounts"] if m["type"] == "bind"]
    assert [m["destination"] for m in found if m["source"] in "/a/b"] == ["/data", "/data/in/deep"]
    assert "ro" in next(m for m in found if m["source"] == "/b")["options"]
    assert [m["source"] for m in found if m["destination"] == "/etc/hosts"] == ["/c"]


def test_what_is_the_kernels_is_mounted_last() -> None:
    order = [m["destination"] for m in built(mounts=(Mount("/a", "/link/to/proc"), Mount("/b", "/d")))["mounts"]]
    assert order[-7:] == ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]
    assert {"/link/to/proc", "/d", "/etc/hosts"} < set(order[:-7])


def test_files_of_etc() -> None:
    files = spec.etc_files(wanted())
    assert files["resolv.conf"] == "nameserver 10.0.0.1\nsearch example\n"
    assert files["hosts"].endswith("10.0.0.2\tweb\n")
    assert "127.0.0.1\tlocalhost" in files["hosts"]
    assert files["hostname"] == "box\n"


def test_tiny_containers_are_refused() -> None:
    with pytest.raises(Permanent):
        spec.check(wanted(resources=Resources(1, 1)).spec)
    with pytest.raises(Permanent):
        spec.check(wanted(limits=Resources(0, 5)).spec)
    with pytest.raises(Permanent):
        spec.check(wanted().spec, Group("g1", 0.0, 5))
    spec.check(wanted(resources=Resources(1, 1), limits=Resources(0, 0)).spec, Group("g1"))


def test_nothing_holds_a_privileged_container() -> None:
    host = replace(HOST, capabilities=frozenset({"CAP_SYS_ADMIN", "CAP_CHOWN"}))
    config = wanted(privileged=True)
    document = spec.build(config, IMAGE, User(), PATHS, host, Filter(compiled="QUJD"), "/proc/1/fd/3")
    linux, process = document["linux"], document["process"]
    assert process["capabilities"]["effective"] == ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    assert not process["noNewPrivileges"]
    assert linux["maskedPaths"] == linux["readonlyPaths"] == []
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "seccomp" not in linux
    assert "annotations" not in document
    assert not any("ro" in mount["options"] for mount in document["mounts"])


def test_the_processors_of_a_container_are_bound() -> None:
    config = replace(wanted(), cpus=(3, 1))
    document = spec.build(config, IMAGE, User(), PATHS, HOST, Filter(compiled="QUJD"), "/proc/1/fd/3")
    assert document["linux"]["resources"]["cpu"]["cpus"] == "1,3"
    assert "cpus" not in built()["linux"]["resources"]["cpu"]


_TEXT = st.text(max_size=20)
_TEXTS = st.dictionaries(_TEXT.filter(bool), _TEXT, max_size=4)


@given(labels=_TEXTS, image_labels=_TEXTS, environment=_TEXTS, command=st.lists(_TEXT, min_size=1, max_size=3))
def test_nothing_of_a_tenants_becomes_an_order_to_the_runtime(
    labels: dict[str, str], image_labels: dict[str, str], environment: dict[str, str], command: list[str]
) -> None:
    config = wanted(labels=labels, environment=environment, command=tuple(command))
    image = ImageFacts("i", "d", 1, labels=tuple(image_labels.items()))
    document = spec.build(config, image, User(), PATHS, HOST, Filter(compiled="QUJD"), "/n")
    assert document["annotations"] == {"run.oci.seccomp_bpf_data": "QUJD"}
    plain = spec.build(wanted(command=("x",)), IMAGE, User(), PATHS, HOST, Filter(compiled="QUJD"), "/n")
    assert document["linux"] == plain["linux"]
    assert document["mounts"] == plain["mounts"]
    assert document["process"]["noNewPrivileges"] is True
    assert "hooks" not in document
    json.dumps(document)
