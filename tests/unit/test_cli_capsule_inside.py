"""What runs inside a capsule: logs of all members, commands, processes, use; and members wherever containers are."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_api import Asked, FakeApi, capsule, member, refusal
from tests.support.terminal import Terminal

WEB = "2026-01-31T12:00:01.1Z asked\n2026-01-31T12:00:03.0Z answered\n"
DB = "2026-01-31T12:00:02.0Z query\n2026-01-31T12:00:02.5Z half a li"


@pytest.fixture
def shop(api: FakeApi) -> dict[str, Any]:
    members = (
        member("fetch", "init", uuid="dddd0001", status="Stopped", status_detail="Exited(0) 5 mins ago "),
        member("web", uuid="dddd0003"),
        member("db", uuid="dddd0004"),
    )
    one = capsule("shop", *members, uuid="aaaa1111-0000")
    api.capsules = [one, capsule("lone", member("job", uuid="eeee0001"), uuid="aaaa2222-0000")]
    api.answers["GET /dddd0001/logs"] = lambda _: refusal(409, "It has no log yet.")
    api.answers["GET /dddd0003/logs"] = lambda asked: (200, _part(asked, WEB))
    api.answers["GET /dddd0004/logs"] = lambda asked: (200, _part(asked, DB))
    return one


def _part(asked: Asked, text: str) -> str:
    """With stamps or without, as it is asked for."""
    if asked.query.get("timestamps") == "true":
        return text
    return "\n".join(line.partition(" ")[2] for line in text.split("\n"))


def test_all_logs_are_one_in_the_order_of_time(shop: Any, krater: Terminal) -> None:
    assert krater("capsule", "logs", "shop").out.splitlines() == [
        "web   | asked",
        "db    | query",
        "db    | half a li",
        "web   | answered",
    ]


def test_stamps_stay_when_they_are_wanted(api: FakeApi, shop: Any, krater: Terminal) -> None:
    out = krater("capsule", "logs", "-t", "-n", "2", "--since", "5", "shop").out
    assert out.splitlines()[0] == "web   | 2026-01-31T12:00:01.1Z asked"
    assert {(r.query["tail"], r.query["since"]) for r in api.requests if r.path.endswith("/logs")} == {("2", "5")}
    assert krater("capsule", "logs", "-n", "0", "shop").out == ""
    assert krater("capsule", "logs", "-n", "x", "shop").code == 2


@pytest.mark.parametrize("words", [["shop", "db"], ["shop/db"], ["aaaa1", "dddd0004"]])
def test_one_member_is_printed_exactly_as_it_wrote(shop: Any, krater: Terminal, words: list[str]) -> None:
    assert krater("capsule", "logs", *words).out == "query\nhalf a li"


def test_following_ends_with_the_last_member(api: FakeApi, shop: Any, krater: Terminal) -> None:
    for one in shop["containers"]:
        one["status"] = "Stopped"
    lines = krater("capsule", "logs", "-f", "shop").out.splitlines()
    assert sorted(lines) == ["db    | half a li", "db    | query", "web   | answered", "web   | asked"]
    assert [line for line in lines if line.startswith("web")] == ["web   | asked", "web   | answered"]


def test_what_goes_wrong_with_one_log_ends_the_following(api: FakeApi, shop: Any, krater: Terminal) -> None:
    api.answers["GET /dddd0003/logs"] = lambda _: refusal(403, "Not yours.")
    ended = krater("capsule", "logs", "-f", "shop")
    assert ended.code == 1
    assert "Not yours." in ended.err


def test_followed_lines_come_while_the_others_are_silent(api: FakeApi, shop: Any, krater: Terminal) -> None:
    came = threading.Event()

    def silent(_: Asked) -> tuple[int, Any]:
        came.wait(10)
        return 200, DB

    def web(asked: Asked) -> tuple[int, Any]:
        if len(api.asked("GET", "/dddd0003")) > 2:
            shop["containers"][0]["status"] = "Stopped"
            came.set()
        return 200, WEB

    shop["containers"][1]["status"] = "Stopped"
    api.answers["GET /dddd0003/logs"], api.answers["GET /dddd0004/logs"] = web, silent
    assert "web   | asked" in krater("capsule", "logs", "-f", "shop").out
    assert came.is_set()


def test_exec_needs_no_member_where_there_is_only_one(api: FakeApi, shop: Any, krater: Terminal) -> None:
    api.answers["POST /execute"] = lambda _: (200, {"output": "hello", "exit_code": 7})
    for words in (["capsule", "exec", "lone"], ["capsule", "exec", "lone/job"], ["exec", "lone/job"]):
        ended = krater(*words, "--", "sh", "-c", "exit 7")
        assert (ended.code, ended.out) == (7, "hello")
    assert len(api.asked("POST", "/v1/containers/eeee0001/execute")) == 3


@pytest.mark.parametrize("verb", ["exec", "attach"])
def test_where_there_are_several_they_are_named(api: FakeApi, shop: Any, krater: Terminal, verb: str) -> None:
    ended = krater("capsule", verb, "shop", *(["ls"] if verb == "exec" else []))
    assert ended.code == 125
    assert ended.err == "krater: shop has several members; say which: shop/fetch, shop/web, shop/db.\n"


def test_attach_goes_to_the_member(api: FakeApi, shop: Any, krater: Terminal) -> None:
    api.answers["GET /attach"] = lambda _: refusal(409, "It was made without stdin.")
    for words in (["capsule", "attach", "lone"], ["attach", "lone/job"]):
        ended = krater(*words)
        assert (ended.code, ended.err) == (125, "krater: It was made without stdin.\n")
    assert len(api.asked("GET", "/v1/containers/eeee0001/attach")) == 2


def test_processes_of_all_members_that_run(api: FakeApi, shop: Any, krater: Terminal) -> None:
    answer = {"Titles": ["PID", "CMD"], "Processes": [["1", "nginx"], ["7", "nginx worker"]]}
    api.answers["GET /dddd0001/top"] = lambda _: refusal(409, "It does not run.")
    api.answers["GET /dddd0003/top"] = lambda _: (200, answer)
    api.answers["GET /dddd0004/top"] = lambda _: (200, {**answer, "Processes": [["1", "postgres"]]})
    lines = [line.split() for line in krater("capsule", "top", "shop", "-o", "pid").out.splitlines()]
    assert lines == [
        ["MEMBER", "PID", "CMD"],
        ["web", "1", "nginx"],
        ["web", "7", "nginx", "worker"],
        ["db", "1", "postgres"],
    ]
    assert api.asked("GET", "/dddd0003/top")[0].query["ps_args"] == "-o pid"
    assert krater("capsule", "top", "shop/db").out.split() == ["PID", "CMD", "1", "postgres"]
    assert krater("top", "shop/db").out.split() == ["PID", "CMD", "1", "postgres"]
    assert krater("capsule", "top", "shop/fetch").code == 1
    assert list(json.loads(krater("capsule", "top", "shop", "--format", "json").out)) == ["web", "db"]


def test_use_of_all_members_that_run(api: FakeApi, shop: Any, krater: Terminal) -> None:
    keys = ("CONTAINER", "CPU %", "MEM USAGE(MiB)", "MEM LIMIT(MiB)", "MEM %", "BLOCK I/O(B)", "NET I/O(B)")
    api.answers["GET /stats"] = lambda _: (200, dict(zip(keys, ("c", 1.5, 20, 100, 20, "0/0", "0/0"), strict=True)))
    lines = [line.split() for line in krater("capsule", "stats", "shop").out.splitlines()]
    assert [line[0] for line in lines] == ["NAME", "shop/web", "shop/db"]
    assert [line.split()[0] for line in krater("stats", "shop/web").out.splitlines()] == ["NAME", "shop/web"]
    assert len(json.loads(krater("capsule", "stats", "shop/web", "lone", "--format", "json").out)) == 2


def test_files_are_copied_out_of_a_member(api: FakeApi, shop: Any, krater: Terminal, tmp_path: Path) -> None:
    api.answers["GET /v1/containers/dddd0003/archive"] = lambda _: refusal(404, "There is no /x.")
    ended = krater("cp", "shop/web:/x", str(tmp_path))
    assert (ended.code, ended.err) == (1, "krater: There is no /x.\n")


@pytest.mark.parametrize(
    ("words", "method", "path"),
    [
        (["logs"], "GET", "/logs"),
        (["kill"], "POST", "/kill"),
        (["pause"], "POST", "/pause"),
        (["commit", "--no-wait"], "POST", "/commit"),
        (["actions"], "GET", "/container_actions"),
    ],
)
def test_every_command_for_containers_takes_members(
    api: FakeApi, shop: Any, krater: Terminal, words: list[str], method: str, path: str
) -> None:
    shop["containers"][0]["status"] = "Paused" if "pause" in words else "Running"
    api.answers["POST /commit"] = lambda _: (202, {"uuid": "i-1"})
    api.answers["GET /container_actions"] = lambda _: (200, {"containerActions": []})
    assert krater(*words, "shop/web", *(["image"] if "commit" in words else [])).code == 0
    assert api.asked(method, f"/v1/containers/dddd0003{path}")


@pytest.mark.parametrize("verb", ["logs", "show", "stop", "top"])
def test_a_capsule_in_place_of_a_container_is_told_with_its_members(shop: Any, krater: Terminal, verb: str) -> None:
    ended = krater(verb, "shop")
    assert ended.code == 1
    assert "shop is a capsule, not a container. Its members are: shop/fetch, shop/web, shop/db." in ended.err


def test_show_tells_reasons_in_full_on_a_narrow_terminal(shop: Any, krater: Terminal) -> None:
    reason = "Its liveness probe failed 3 times in a row; the last said: GET / from http port 80: status 404"
    shop["containers"][0]["status_reason"] = reason
    with krater.wide(60):
        out = krater("capsule", "show", "shop").out
    assert max(map(len, out.splitlines())) <= 60
    assert f"{shop['containers'][0]['member_name']} {reason}" in " ".join(out.split())
