"""`krater capsule` and `krater kube` as people use them, against real containers."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.screen import Screen
from tests.support.server import BIN, Server, eventually

pytestmark = pytest.mark.live

SHOP = """
kind: capsule
metadata: {name: shop, labels: {tier: front}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: data, cinder: {size: 1, autoRemove: true}}]
  initContainers:
  - name: fetch
    image: busybox
    command: [sh, -c, echo hello > /data/x; echo fetched]
    volumeMounts: [{name: data, mountPath: /data}]
  - {name: proxy, image: busybox, restartPolicy: Always, command: [sh, -c, echo proxy; exec sleep 1000]}
  containers:
  - name: web
    image: busybox
    command: [sh, -c, "until [ -e /tmp/go ]; do sleep 0.1; done; echo web; exec sleep 1000"]
    volumeMounts: [{name: data, mountPath: /data, readOnly: true}]
    dependsOn: [{container: db}]
  - {name: db, image: busybox, stdin: true, command: [sh, -c, echo db; exec cat]}
"""
FAILING = """
kind: capsule
metadata: {{name: {}}}
spec:
  restartPolicy: {}
  initContainers: [{{name: fetch, image: busybox, command: [sh, -c, exit 3]}}]
  containers: [{{name: main, image: busybox, command: [sleep, "1000"]}}]
"""


@pytest.fixture(autouse=True)
def nothing_left(server: Server) -> Iterator[None]:
    """Whatever capsules a test leaves are removed after it."""
    yield
    left = server.krater("capsule", "ls", "-q").stdout.split()
    if left:
        server.krater("capsule", "rm", "-f", *left)


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> str:
    """A capsule with an init container, a sidecar and two others; its id."""
    return made(server, tmp_path, SHOP)


def made(server: Server, directory: Path, template: str, *words: str) -> str:
    file = directory / "template.yaml"
    file.write_text(template)
    return server.krater("capsule", "create", "-f", str(file), *words).stdout.strip()


def test_create_ends_when_all_of_it_runs(server: Server, shop: str) -> None:
    shown = json.loads(server.krater("capsule", "show", "shop", "--format", "json").stdout)
    assert (shown["uuid"], shown["status"]) == (shop, "Running")
    assert "3/3" in server.krater("capsule", "ls", "--label", "tier=front", "--status", "running").stdout
    assert server.krater("capsule", "ls", "-q", "--label", "tier=back").stdout == ""
    panel = server.krater("capsule", "show", shop[:12]).stdout
    for words in ("fetch at /data", "web at /data (read-only)", "sidecar", "Exited(0)", "create"):
        assert words in panel


def test_create_that_fails_says_why_and_leaves_it(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(FAILING.format("bad", "Never"))
    ended = server.krater("capsule", "create", "-f", str(file), check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    for words in ("bad is Error: ", "fetch", "exit code 3", "krater capsule show bad"):
        assert words in ended.stderr
    file.write_text(FAILING.format("worse", "Always"))
    ended = server.krater("capsule", "create", "-f", str(file), check=False)
    assert ended.returncode == 1
    assert "Krater goes on trying" in ended.stderr
    assert server.krater("capsule", "rm", "-f", "bad", "worse").stdout == "bad\nworse\n"


def test_create_shows_what_members_do_and_can_be_left(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(SHOP.replace("echo hello", "sleep 1000; echo hello"))
    screen = Screen([str(BIN / "krater"), "capsule", "create", "-f", str(file)], server.environment)
    screen.until("shop: Creating, fetch: Running")
    screen.until("Waits for fetch to succeed")
    screen.process.send_signal(signal.SIGINT)
    screen.until("shop goes on without us")
    assert screen.ended() == 130
    assert server.krater("capsule", "ls", "-q").stdout


def test_logs_of_all_members_are_one(server: Server, shop: str) -> None:
    eventually(lambda: "db |" in server.krater("capsule", "logs", "shop").stdout.replace("    ", " "), what="its log")
    assert server.krater("capsule", "logs", "shop").stdout.splitlines() == [
        "fetch | fetched",
        "proxy | proxy",
        "db    | db",
    ]
    assert server.krater("capsule", "logs", "shop", "db").stdout == "db\n"
    child = subprocess.Popen(
        [str(BIN / "krater"), "capsule", "logs", "-f", "shop"],
        env=server.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(3)][-1] == "db    | db\n"
        server.krater("exec", "shop/web", "touch", "/tmp/go")
        assert child.stdout.readline() == "web   | web\n"
        server.krater("capsule", "stop", "shop")
        assert child.communicate(timeout=20)[0] == ""
        assert child.returncode == 0
    finally:
        child.kill()
        child.wait()


def test_members_are_containers_for_every_command(server: Server, shop: str, tmp_path: Path) -> None:
    assert server.krater("capsule", "exec", "shop/db", "hostname").stdout == "shop\n"
    assert server.krater("exec", "shop/web", "cat", "/data/x").stdout == "hello\n"
    server.krater("cp", "shop/web:/data/x", str(tmp_path / "x"))
    assert (tmp_path / "x").read_text() == "hello\n"
    assert "sleep 1000" in server.krater("top", "shop/proxy").stdout
    assert [line.split()[0] for line in server.krater("capsule", "top", "shop").stdout.splitlines()].count("db") == 1
    use = json.loads(server.krater("capsule", "stats", "shop", "--format", "json").stdout)
    assert [one["name"] for one in use] == ["shop/proxy", "shop/db", "shop/web"]
    assert "main" in server.krater("show", "shop/web").stdout
    assert len(server.krater("ps", "--capsule", "shop", "-q").stdout.split()) == 4
    refused = server.krater("exec", "shop", "ls", check=False)
    assert refused.returncode == 125
    assert "shop/fetch, shop/proxy, shop/db, shop/web" in refused.stderr


def test_a_terminal_in_a_member_and_its_first_process(server: Server, shop: str) -> None:
    screen = Screen([str(BIN / "krater"), "capsule", "exec", "-it", "shop/web", "sh"], server.environment)
    screen.until("[#$] ")
    screen.type("test -t 0 && exit 42\r")
    assert screen.ended() == 42
    child = subprocess.Popen(
        [str(BIN / "krater"), "capsule", "attach", "shop/db"],
        env=server.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("said\n")
        child.stdin.flush()
        assert "said\n" in (child.stdout.readline(), child.stdout.readline())  # what it said before may come first
    finally:
        child.kill()
        child.communicate()


def test_all_of_it_and_single_members_are_stopped_and_started(server: Server, shop: str) -> None:
    assert server.krater("capsule", "stop", "shop/db").stdout == "shop/db\n"
    assert "2/3" in server.krater("capsule", "ls").stdout
    assert server.krater("start", "shop/db").stdout == "shop/db\n"
    assert server.krater("capsule", "restart", "shop").stdout == "shop\n"
    assert server.krater("capsule", "stop", shop[:12]).stdout == "shop\n"
    assert "0/3" in server.krater("capsule", "ls", "--status", "stopped").stdout
    assert server.krater("capsule", "start", "shop").stdout == "shop\n"
    events = [line.split()[:2] for line in server.krater("capsule", "events", "shop").stdout.splitlines()]
    assert ["db", "stop"] in events
    assert ["db", "start"] in events
    refused = server.krater("capsule", "rm", "shop", check=False)
    assert refused.returncode == 1
    assert "rm -f" in refused.stderr
    assert server.krater("rm", "-f", "shop/db", check=False).returncode == 1
    assert server.krater("capsule", "rm", "-f", "shop").stdout == "shop\n"
    assert server.krater("capsule", "show", "shop", check=False).returncode == 1
    assert shop not in server.krater("volume", "ls").stdout


POD = """
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  restartPolicy: Never
  nodeSelector: {disk: ssd}
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: fill, image: busybox, command: [sh, -c, echo kept > /data/x], volumeMounts: [{name: data, mountPath: /data}]}
  containers:
  - name: main
    image: busybox
    env: [{name: FILE, value: x}, {name: "PATH_OF", value: /data/$(FILE)}]
    command: [cat]
    args: [$(PATH_OF)]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
"""


def test_a_pod_is_played_and_taken_down(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(POD)
    refused = server.krater("kube", "play", "--strict", str(file), check=False)
    assert refused.returncode == 1
    assert "spec.nodeSelector: left out" in refused.stderr
    played = server.krater("kube", "play", str(file))
    assert "spec.nodeSelector: left out" in played.stderr
    eventually(
        lambda: "Stopped" in server.krater("capsule", "ls", "--name", "pod").stdout, what="the end of the capsule"
    )
    assert server.krater("capsule", "logs", "pod", "main").stdout == "kept\n"
    assert server.krater("kube", "play", str(file), check=False).returncode == 1
    assert server.krater("kube", "down", str(file)).stdout == "pod\n"
    assert server.krater("capsule", "ls", "-q").stdout == ""
    assert server.krater("kube", "down", str(file)).stdout == ""


def test_the_sdk_streams_the_log_of_a_member(server: Server, shop: str) -> None:
    client = server.client()
    web = client.containers.find("shop/web")["uuid"]
    pieces = server.client().containers.stream_logs(web)
    client.containers.execute(web, ["touch", "/tmp/go"])
    assert next(pieces) == b"web\n"
    pieces.close()
    state = client.capsules.wait(shop, "running")
    assert state is not None
    assert [member["member_name"] for member in client.capsules.members(shop)] == ["fetch", "proxy", "db", "web"]
