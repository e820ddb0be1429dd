"""Capsules on the real engine: what members share, what they see of volumes and files, who reaches them, what bounds
them."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.asking import admin_of
from tests.support.containers import ends_up, running
from tests.support.images import busybox_layer, configuration, oci_members
from tests.support.live_capsules import (
    SMALL,
    Capsule,
    Json,
    capsules,
    clear,
    member,
    mounts,
    new_volume,
    refused,
    template,
)
from tests.support.registry import serving_images
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

SERVES = "mkdir -p /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"
HOG = "echo begun; sleep 1; exec dd if=/dev/zero of=/dev/null bs=300M count=1"


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater with addresses of both kinds."""
    with serving("agent.resync=2", ipv6=True) as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server) -> Iterator[None]:
    """Every test leaves nothing: no process, mount, control group, card, address, volume, file or row."""
    yield
    clear(own)


# What members share ---------------------------------------------------------------------------------------------------


def test_members_have_one_address_and_reach_each_other_at_localhost(own: Server) -> None:
    capsule = Capsule.running(own, member("web", SERVES), member("log"))
    outside = running(own)
    own_words = {name: capsule.prints(name, "ip -o addr show dev eth0 scope global") for name in ("web", "log")}
    assert own_words["web"] == own_words["log"]
    assert capsule.address() in own_words["web"]
    assert capsule.address(6) in own_words["web"]
    eventually(lambda: capsule.does("log", "wget -q -O - http://localhost:8080/") == (0, "hi\n"), what="localhost")
    answer = own.client().containers.execute(outside, ["wget", "-q", "-O", "-", f"http://{capsule.address()}:8080/"])
    assert answer["output"] == "hi\n"
    assert capsule.member("web")["addresses"] == {}


def test_members_have_one_host_name_that_resolves(own: Server) -> None:
    capsule = Capsule.running(own, member("web"), member("log"), hostname="front")
    named = Capsule.running(own, member("one"), name="back-office")
    for name in ("web", "log"):
        assert capsule.prints(name, "hostname") == "front"
        assert capsule.address() in capsule.prints(name, "grep front /etc/hosts")
    assert named.prints("one", "hostname") == "back-office"


def space(capsule: Capsule, name: str, kind: str) -> str:
    """The namespace of a member."""
    return capsule.prints(name, f"readlink /proc/self/ns/{kind}")


def test_members_share_ipc_and_nothing_else_does(own: Server) -> None:
    capsule = Capsule.running(own, member("one"), member("two"))
    other = Capsule.running(own, member("one"))
    for kind in ("ipc", "net"):
        assert space(capsule, "one", kind) == space(capsule, "two", kind) != space(other, "one", kind)
    capsule.prints("one", "echo shared > /dev/shm/note; chmod 666 /dev/shm/note")
    assert capsule.prints("two", "cat /dev/shm/note") == "shared"
    assert other.does("one", "ls /dev/shm/note")[0] != 0
    for kind in ("pid", "mnt"):
        assert space(capsule, "one", kind) != space(capsule, "two", kind)
    assert "sleep" in capsule.prints("one", "cat /proc/1/cmdline | tr '\\0' ' '")


def test_what_is_in_shared_memory_outlives_a_member(own: Server) -> None:
    capsule = Capsule.running(own, member("one"), member("two"))
    capsule.prints("one", "echo kept > /dev/shm/note")
    before = capsule.pid("one")
    own.client().containers.restart(capsule.container("one"), timeout=0)
    eventually(lambda: capsule.process("one") and capsule.pid("one") != before, what="another process")
    capsule.ends_up("Running")
    assert capsule.prints("one", "cat /dev/shm/note") == "kept"


# Volumes and files ----------------------------------------------------------------------------------------------------


def test_a_new_volume_is_shared_and_goes_with_the_capsule(own: Server) -> None:
    writer = member("writer", "echo from writer > /out/note; exec sleep 1000", **mounts(shared="/out"))
    reader = member("reader", volumeMounts=[{"name": "shared", "mountPath": "/in", "readOnly": True}])
    capsule = Capsule.running(own, writer, reader, volumes=[new_volume("shared")])
    eventually(lambda: capsule.does("reader", "cat /in/note") == (0, "from writer\n"), what="the note")
    code, said = capsule.does("reader", "echo x > /in/other")
    assert code != 0
    assert "Read-only file system" in said
    [volume] = own.client().volumes.list()
    assert (volume["status"], volume["size"]) == ("in-use", 1)
    [shown] = capsule.shown()["volumes"]
    assert (shown["name"], shown["id"], shown["size"]) == ("shared", volume["uuid"], 1)
    assert {(one["member"], one["path"], one["read_only"]) for one in shown["mounts"]} == {
        ("writer", "/out", False),
        ("reader", "/in", True),
    }
    capsule.delete()
    eventually(lambda: not own.client().volumes.list(), what="the volume gone")


def test_an_existing_volume_keeps_its_data(own: Server) -> None:
    volume = own.client().volumes.create("data", 1)["uuid"]
    asked: Json = {"volumes": [{"name": "db", "cinder": {"volumeID": volume, "autoRemove": False}}]}
    first = Capsule.running(own, member("db", **mounts(db="/var/db")), **asked)
    first.prints("db", "echo kept > /var/db/row")
    assert "in use" in refused(own, template(member("db", **mounts(db="/db")), **asked))
    first.delete()
    assert own.client().volumes.show("data")["status"] == "available"
    second = Capsule.running(own, member("other", **mounts(db="/elsewhere")), **asked)
    assert second.prints("other", "cat /elsewhere/row") == "kept"


def test_files_are_injected(own: Server) -> None:
    content = "port=8080\n# grüße\n"
    file = {"name": "conf", "file": {"content": base64.b64encode(content.encode()).decode()}}
    reads = [member(name, **mounts(conf="/etc/app.conf")) for name in ("one", "two")]
    capsule = Capsule.running(own, *reads, volumes=[file])
    for name in ("one", "two"):
        assert capsule.prints(name, "cat /etc/app.conf") == content.strip()
        assert capsule.does(name, "echo x > /etc/app.conf")[0] != 0


def test_a_refused_template_leaves_nothing(own: Server) -> None:
    there = own.client().volumes.create("data", 1)["uuid"]
    both = [{"name": "old", "cinder": {"volumeID": there, "autoRemove": False}}, new_volume("new")]
    unknown = {"name": "none", "cinder": {"volumeID": "00000000-0000-4000-8000-000000000000", "autoRemove": False}}
    mounted = member("web", **mounts(old="/old", new="/new", none="/none"))
    refused(own, template(mounted, volumes=[*both, unknown]), 404)
    title = refused(own, template(member("web", **mounts(old="/old")), volumes=both))
    assert "template.spec.volumes[1]" in title
    assert capsules(own) == []
    [volume] = own.client().volumes.list()
    assert volume["status"] == "available"


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
def test_a_template_may_be_a_text(own: Server, write: Any) -> None:
    capsule = Capsule.of(own, write(template(member("web"), name="written")))
    assert capsule.ends_up("Running")["name"] == "written"


# Who reaches a capsule ------------------------------------------------------------------------------------------------


def test_ports_are_opened_to_everybody_and_their_group_goes_with_the_capsule(own: Server) -> None:
    client = own.client()
    client.security_groups.create("strangers")
    stranger = running(own, security_groups=["strangers"])
    both = "mkdir /www; echo hi > /www/index.html; httpd -p 8081 -h /www; exec httpd -f -p 8080 -h /www"
    capsule = Capsule.running(own, member("web", both, ports=[{"containerPort": 8080, "protocol": "TCP"}]))

    def reaches(port: int, address: str) -> bool:
        asked = client.containers.execute(stranger, ["sh", "-c", f"nc -w 1 {address} {port} < /dev/null"])
        return asked["exit_code"] == 0

    eventually(lambda: reaches(8080, capsule.address()), what="the open port")
    assert reaches(8080, capsule.address(6))
    assert capsule.does("web", "nc -w 1 localhost 8081 < /dev/null")[0] == 0
    assert not reaches(8081, capsule.address())
    (group,) = capsule.shown()["security_groups"]
    capsule.delete()
    eventually(lambda: group not in {g["uuid"] for g in client.security_groups.list()}, what="the group gone")
    client.containers.delete(stranger, force=True)
    assert client.containers.wait(stranger, "gone", timeout=30) is None
    client.security_groups.delete("strangers")


def test_named_groups_decide_who_reaches_a_capsule_and_follow_their_rules(own: Server) -> None:
    client = own.client()
    group = client.security_groups.create("front")["uuid"]
    rule = client.security_groups.add_rule("front", protocol="tcp", ports=(8080, 8080))
    neighbour = running(own)
    both = "mkdir /www; echo hi > /www/index.html; httpd -p 8081 -h /www; exec httpd -f -p 8080 -h /www"
    capsule = Capsule.running(own, member("web", both), member("log"), securityGroups=["front"])
    assert capsule.shown()["security_groups"] == [group], "and not in the default one, nor in one of its own"

    def reaches(port: int) -> bool:
        asked = client.containers.execute(neighbour, ["sh", "-c", f"nc -w 1 {capsule.address()} {port} < /dev/null"])
        return asked["exit_code"] == 0

    def serves(port: int) -> bool:
        return capsule.does("log", f"nc -w 1 localhost {port} < /dev/null")[0] == 0

    eventually(lambda: serves(8080) and serves(8081), what="both servers")
    eventually(lambda: reaches(8080), what="the open port")
    assert not reaches(8081)
    client.security_groups.delete_rule(rule["uuid"])
    eventually(lambda: not reaches(8080), what="the port closed")
    assert serves(8080), "it was not the server that went"
    client.security_groups.add_rule("front", protocol="tcp", ports=(8081, 8081))
    eventually(lambda: reaches(8081), what="the other port open")
    assert not reaches(8080)
    capsule.delete()
    client.security_groups.delete("front")


def test_without_ports_strangers_do_not_reach_it(own: Server) -> None:
    client = own.client()
    client.security_groups.create("others")
    stranger = running(own, security_groups=["others"])
    capsule = Capsule.running(own, member("web", SERVES), member("log"))
    eventually(lambda: capsule.does("log", "nc -w 1 localhost 8080 < /dev/null")[0] == 0, what="a server")
    asked = client.containers.execute(stranger, ["sh", "-c", f"nc -w 1 {capsule.address()} 8080 < /dev/null"])
    assert asked["exit_code"] != 0
    client.containers.delete(stranger, force=True)
    assert client.containers.wait(stranger, "gone", timeout=30) is None
    client.security_groups.delete("others")


# Limits ---------------------------------------------------------------------------------------------------------------


def asks(memory: int, **more: Any) -> Json:
    return {"resources": {"requests": {"cpu": 0.1, "memory": memory}, **more}}


def test_a_hog_that_fills_the_capsule_is_killed_and_the_others_live(own: Server) -> None:
    capsule = Capsule.made(own, member("hog", HOG, **asks(48)), member("calm", **asks(16)), restartPolicy="Never")
    capsule.has("hog", exit_code=137)
    assert "memory" in str(capsule.member("hog")["status_reason"])
    assert capsule.member("calm")["status"] == "Running"
    assert capsule.prints("calm", "echo alive") == "alive"


def test_a_member_with_limits_of_its_own_is_killed_at_them(own: Server) -> None:
    bounded = asks(16, limits={"memory": 24})
    capsule = Capsule.made(own, member("hog", HOG, **bounded), member("calm", **asks(256)), restartPolicy="Never")
    hog = capsule.has("hog", exit_code=137)
    assert "memory" in str(hog["status_reason"])
    assert capsule.prints("calm", "echo alive") == "alive"


def test_a_hog_may_use_what_the_others_leave(own: Server) -> None:
    """The limit is that of the whole: one member may have more than its own share, all together not."""
    fills = "dd if=/dev/zero of=/dev/shm/fill bs=1M count=40 2> /dev/null; echo filled; exec sleep 1000"
    capsule = Capsule.running(own, member("one", fills, **asks(16)), member("two", **asks(64)))
    capsule.says("one", "filled")
    assert capsule.shown()["memory"] == "80"
    stats = own.client().containers.stats(capsule.container("one"))
    assert stats["MEM LIMIT(MiB)"] == pytest.approx(80, abs=1)


def test_processor_time_is_limited_for_the_whole(own: Server) -> None:
    burns = member("burns", "while :; do :; done", resources={"requests": {"cpu": 0.1, "memory": 16}})
    capsule = Capsule.running(own, burns, {**burns, "name": "also"})

    def used() -> float:
        return sum(_seconds_of(pid) for pid in capsule.pids().values())

    begun, before = time.monotonic(), used()
    time.sleep(3)
    share = (used() - before) / (time.monotonic() - begun)
    assert share < 0.35, "two that were granted 0.1 cores each use 0.2 together"
    assert share > 0, "they ran"


def _seconds_of(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


# Images and input -----------------------------------------------------------------------------------------------------


def test_pull_secrets_are_found_by_the_domain_of_the_image(own: Server) -> None:
    with serving_images(("puller", "open-sesame")) as registry:
        layers = [busybox_layer()]
        secret = configuration(layers, Cmd=["sh", "-c", "echo private words; exec sleep 1000"])
        image = registry.put("team/secret", "latest", oci_members("secret", layers, secret))
        asked: Json = {"name": "secret", "image": image, "resources": SMALL}
        without = Capsule.made(own, asked, member("other"))
        reason = without.ends_up("Error")["status_reason"]
        assert reason.startswith("secret: ")
        without.delete()
        client = own.client()
        made = client.registries.create(registry.domain, name="mine", username="puller", password="open-sesame")
        capsule = Capsule.running(own, asked, member("other"), imagePullSecrets=[{"registry": "mine"}])
        capsule.says("secret", "private words")
        assert "open-sesame" not in json.dumps(capsule.shown())
        capsule.delete()
        client.registries.delete(made["uuid"])


def test_an_image_that_is_not_there_is_an_error_that_names_the_member(own: Server) -> None:
    nowhere: Json = {"name": "broken", "image": "127.0.0.1:1/no/such:image", "resources": SMALL}
    capsule = Capsule.made(own, member("fine"), nowhere)
    reason = capsule.ends_up("Error")["status_reason"]
    assert reason.startswith("broken: ")
    assert "no/such" in reason


def test_stdin_and_tty_are_a_members_own(own: Server) -> None:
    capsule = Capsule.running(own, {**member("shell"), "command": ["sh"], "stdin": True, "tty": True}, member("plain"))
    with own.client().containers.attach(capsule.container("shell")) as console:
        console.send(b"echo $((40+2)); tty; exit 5\n")
        said = b"".join(content for _, content in console.outputs())
    assert b"42" in said
    assert b"/dev/pts/" in said
    capsule.has("shell", exit_code=5)
    assert capsule.does("plain", "test -t 0")[0] != 0


def test_env_work_dir_and_entrypoint_are_as_asked(own: Server) -> None:
    prints = {**member("prints"), "entrypoint": ["sh", "-c"], "command": ["pwd; echo $WORD; exec sleep 1000"]}
    capsule = Capsule.running(own, {**prints, "workDir": "/var/www", "env": {"WORD": "hello"}})
    capsule.says("prints", "/var/www\nhello\n")


def test_labels_annotations_and_names_are_shown_and_found(own: Server) -> None:
    asked = template(member("web"), name="shown")
    asked["metadata"] |= {"labels": {"app": "web", "tier": "front"}, "annotations": {"note": "anything at all"}}
    capsule = Capsule.of(own, asked)
    shown = capsule.ends_up("Running")
    assert (shown["labels"], shown["annotations"]) == (asked["metadata"]["labels"], {"note": "anything at all"})
    other = Capsule.running(own, member("web"))
    admin = admin_of(own)

    def found(query: str) -> set[str]:
        return {one["uuid"] for one in admin.ask("GET", f"/v1/capsules?{query}").json["capsules"]}

    assert found("labels=app%3Dweb") == found("labels=app=web&labels=tier=front") == {capsule.id}
    assert found("labels=app=web,tier=back") == set()
    assert found("name=shown") == {capsule.id}
    assert found("status=Running") == {capsule.id, other.id}
    assert admin.ask("GET", "/v1/capsules/shown").json["uuid"] == capsule.id
    assert other.shown()["name"] is None
    ends_up(own, capsule.container("web"), "Running")
