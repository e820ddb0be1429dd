"""What a tenant tries from inside a container: out of it, across to others, and to fill the machine."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import User, admin_of, with_account
from tests.support.containers import ends_up, remove_all, running, said, shown
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

# DAC_READ_SEARCH, LINUX_IMMUTABLE, NET_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, SYS_TIME, MKNOD,
# MAC_ADMIN, SYSLOG, BPF
SYNTHETIC = {"proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2", "devtmpfs"}
OURS = {"/etc/hosts", "/etc/resolv.conf", "/etc/hostname"}
DEVICES = {f"/dev/{name}" for name in ("console", "full", "null", "ptmx", "random", "tty", "urandom", "zero")}
POWERFUL = (2, 9, 12, 16, 17, 19, 21, 22, 25, 27, 33, 34, 39)
LOG_SIZE, LOG_FILES, PIDS = 256 << 10, 2, 64
BOUND = 4 * LOG_SIZE * (LOG_FILES + 1) + (64 << 10)  # a file may overshoot between two looks


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater that listens on all addresses of the machine, so that there is something to be kept from."""
    logs = (f"agent.log_size={LOG_SIZE}", f"agent.log_files={LOG_FILES}")
    with serving("api.host_ip=0.0.0.0", f"agent.pids={PIDS}", *logs) as server:
        yield server


@pytest.fixture(scope="module")
def box(own: Server) -> Iterator[str]:
    """A container from which things are tried."""
    yield running(own, memory="64", name="box")
    remove_all(own)


def tried(server: Server, box: str, script: str) -> tuple[int | None, str]:
    done = server.client().containers.execute(box, ["sh", "-c", script])
    return done["exit_code"], done["output"] or ""


def is_reached(address: str, port: int) -> bool:
    """Whether the machine itself reaches it."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0


def addresses_of_the_machine() -> list[str]:
    listing = subprocess.run(["ip", "-o", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    return [line.split()[3].partition("/")[0] for line in listing.splitlines()]


def test_the_api_and_other_ports_of_the_machine_cannot_be_reached(own: Server, box: str) -> None:
    _, routes = tried(own, box, "ip route")
    gateway = routes.split()[2]
    assert is_reached(gateway, own.port), "it is there, for the machine itself"
    with socket.create_server(("0.0.0.0", 0)) as other:
        for address in {gateway, *addresses_of_the_machine()} - {"127.0.0.1"}:
            for port in (own.port, other.getsockname()[1]):
                code, out = tried(own, box, f"nc -w 1 {address} {port} </dev/null")
                assert code != 0, f"{address}:{port} was reached: {out}"


def test_the_name_server_of_the_network_can_be_reached(own: Server, box: str) -> None:
    code, out = tried(own, box, "nslookup box")
    assert code == 0, out


def project(server: Server, name: str) -> User:
    return with_account(server, name)


def run_for(user: User, name: str, script: str) -> tuple[str, str]:
    """A running container of a user: its id and address."""
    made = user.create(name, run=True, command=["sh", "-c", script]).json["uuid"]
    path = f"/v1/containers/{made}"
    eventually(lambda: user.ask("GET", path).json["status"] == "Running", what="running")
    (address,) = next(iter(user.ask("GET", path).json["addresses"].values()))
    return made, address["addr"]


def test_another_projects_containers_cannot_be_reached(own: Server) -> None:
    serve = "while true; do echo secret | nc -l -p 7777; done"
    alice, bob = project(own, "alice"), project(own, "bob")
    _, hers = run_for(alice, "server", serve)
    neighbour, _ = run_for(alice, "neighbour", "sleep 1000")
    stranger, _ = run_for(bob, "stranger", "sleep 1000")
    fetch = f"nc -w 2 {hers} 7777 </dev/null"
    eventually(lambda: "secret" in tried(own, neighbour, fetch)[1], what="reached from its own network")
    for script in (fetch, f"ping -c 1 -W 1 {hers}", "nslookup server", f"ip route add {hers} dev eth0 && {fetch}"):
        code, out = tried(own, stranger, script)
        assert code != 0, out
        assert "secret" not in out
    gateway = tried(own, neighbour, "ip route")[1].split()[2]
    assert tried(own, stranger, f"ip route replace default via {gateway}")[0] != 0


@pytest.mark.parametrize(
    "script",
    [
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /proc/sys",
        "mount --bind / /mnt",
        "umount /proc/sys",
        "echo x > /proc/sys/kernel/hostname",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo b > /proc/sysrq-trigger",
        "echo x > /sys/kernel/uevent_helper",
        "touch /sys/x",
        "echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
        "mkdir /sys/fs/cgroup/memory/inner /sys/fs/cgroup/user.slice/inner",
        "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk",
        "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
        "head -c 1 /proc/kcore | grep .",
        "grep . /proc/keys /proc/timer_list",
        "head -c 1 /dev/mem",
        "dmesg",
        "hostname other",
        "date -s 2000-01-01; date +%Y | grep 2000",
        "ip link add x type dummy",
        "ip addr add 10.0.0.1/8 dev eth0",
        "iptables -L || nft list ruleset",
        "insmod /x.ko",
        "chroot /proc/1/root/../.. true && ls /var/lib/dpkg",
        "unshare -m true",
        "unshare -U true",
        "unshare -Urm mount -t tmpfs none /tmp",
        "unshare -Urn true",
        "nsenter -t 1 -m -n -p ls /var/lib/dpkg",
        "swapoff -a && swapon /dev/vda",
        "reboot -f",
        "kill -0 2",
        "ls /proc/1/map_files && cat /proc/1/environ | grep KRATER",
    ],
)
def test_what_only_the_machine_may_do_is_refused(own: Server, box: str, script: str) -> None:
    code, out = tried(own, box, f"mkdir -p /mnt; {script}")
    assert code != 0, f"{script}: {out}"
    assert shown(own, box)["status"] == "Running"


def test_processes_have_few_powers_and_can_get_no_more(own: Server, box: str) -> None:
    for process in ("self", "1"):
        _, status = tried(own, box, f"grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd' /proc/{process}/status")
        facts = dict(line.split(":\t") for line in status.strip().splitlines())
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
        for kind in ("CapEff", "CapBnd"):
            assert not int(facts[kind], 16) & sum(1 << number for number in POWERFUL), facts


def test_processes_of_the_machine_and_of_others_are_not_seen(own: Server, box: str) -> None:
    other = running(own, ["sleep", "987654"])
    _, listed = tried(own, box, "ps; ls /proc; cat /proc/[0-9]*/cmdline")
    assert "987654" not in listed
    assert "containerd" not in listed
    assert str(os.getpid()) not in listed.split()
    assert tried(own, box, "readlink /proc/self/ns/net")[1] != os.readlink("/proc/self/ns/net") + "\n"
    for word in ("pid", "mnt", "ipc", "uts", "net", "cgroup"):
        mine = os.readlink(f"/proc/self/ns/{word}")
        assert tried(own, box, f"readlink /proc/self/ns/{word}")[1].strip() != mine, word
    assert tried(own, other, "cat /etc/hostname /proc/1/cmdline")[1].count("987654") == 1


def test_nothing_of_the_machine_is_in_its_files(own: Server, box: str) -> None:
    _, mounts = tried(own, box, "cat /proc/mounts")
    points = {line.split()[1]: line.split()[2] for line in mounts.splitlines()}
    assert points["/"] == "overlay"
    assert {point for point, kind in points.items() if kind not in SYNTHETIC} <= {"/", *OURS}
    _, devices = tried(own, box, "find /dev -type b -o -type c")
    assert {device for device in devices.split() if not device.startswith("/dev/pts/")} <= DEVICES


def test_a_fork_bomb_is_bounded(own: Server) -> None:
    bomb = running(own, ["sh", "-c", "b() { b | b & }; b; sleep 1000"], memory="64", name="bomb")
    group = f"/sys/fs/cgroup/pids/{own.instance}/{bomb}/pids.current"
    if not os.path.exists(group):
        group = f"/sys/fs/cgroup/{own.instance}/{bomb}/pids.current"
    most = max(int(Path(group).read_text()) for _ in range(2000))
    assert 2 < most <= PIDS
    assert said(own, ["echo", "well"]) == "well\n"
    own.client().containers.delete(bomb, force=True)
    assert own.client().containers.wait(bomb, "gone", timeout=15) is None


def test_a_flood_of_output_is_bounded_on_disk_and_the_end_is_there(own: Server) -> None:
    flood = running(own, ["sh", "-c", "yes 0123456789012345678901234567890123456789 | head -n 2000000; echo the end"])
    directory = own.directory / "engine" / "logs" / flood
    sizes: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            sizes.append(sum(f.stat().st_size for f in directory.glob("*") if f.exists()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ends_up(own, flood, "Stopped", within=60)
    finally:
        done.set()
        watcher.join()
    assert max(sizes) <= BOUND
    assert own.client().containers.logs(flood, tail="1") == "the end\n"
    remove_all(own)


def test_a_line_without_end_is_no_danger(own: Server) -> None:
    uuid = running(own, ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo '\\033[2Jend'; sleep 1000"])
    eventually(lambda: "end" in own.client().containers.logs(uuid, tail="1"), what="the end")
    assert own.krater("logs", "--tail", "1", uuid).stdout
    assert admin_of(own).ask("GET", f"/v1/containers/{uuid}/logs").status == 200
