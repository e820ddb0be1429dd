"""`krater capsule`: capsules made, listed, shown, changed and removed."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_api import Asked, FakeApi, capsule, container, member, refusal
from tests.support.terminal import Terminal, start_krater

TEMPLATE = "kind: capsule\nmetadata: {name: shop, labels: {day: 2026-01-31}}\nspec:\n  containers: [{image: busybox}]\n"


@pytest.fixture
def shop(api: FakeApi) -> dict[str, Any]:
    ended = {"status": "Stopped", "status_detail": "Exited(0) 5 mins ago ", "exit_code": 0}
    members = (
        member("fetch", "init", uuid="dddd0001", **ended),
        member("proxy", "sidecar", uuid="dddd0002"),
        member("web", uuid="dddd0003", ready=False),
        member("db", uuid="dddd0004", status="Restarting", status_reason="Exit code 1.", restarts=2, exit_code=1),
    )
    one = capsule("shop", *members, uuid="aaaa1111-0000", status_reason="web: Not ready.")
    api.capsules = [one, capsule(None, member("job", uuid="eeee0001"), uuid="aaaa2222-0000", status="Stopped")]
    return one


@pytest.fixture
def template(tmp_path: Path) -> Path:
    file = tmp_path / "shop.yaml"
    file.write_text(TEMPLATE)
    return file


def lives(api: FakeApi, *states: dict[str, Any]) -> dict[str, Any]:
    """What a capsule that is made goes through, one state a question; it stays in the last."""
    made = capsule("shop", member("web", uuid="dddd0003", status="Creating"), uuid="aaaa1111-0000", status="Creating")
    left = list(states)

    def make(_: Asked) -> tuple[int, Any]:
        api.capsules.append(made)
        return 202, made

    def show(_: Asked) -> tuple[int, Any]:
        if left:
            made.update(left.pop(0))
        return (200, made) if made in api.capsules else refusal(404, "gone")

    api.answers["POST /v1/capsules"] = make
    api.answers["GET /capsules/aaaa1111-0000"] = show
    return made


def test_create_waits_until_it_runs_and_prints_the_id(api: FakeApi, krater: Terminal, template: Path) -> None:
    lives(api, {"status": "Creating"}, {"status": "Creating", "status_reason": "web: pulling"}, {"status": "Running"})
    ended = krater("capsule", "create", "-f", str(template))
    assert (ended.code, ended.out, ended.err) == (0, "aaaa1111-0000\n", "")
    assert api.asked("POST", "/capsules")[0].body == {"template": TEMPLATE}
    assert len(api.asked("GET", "/capsules/aaaa1111-0000")) == 3


@pytest.mark.parametrize("words", [["-d"], ["--no-wait"]])
def test_who_does_not_wait_is_answered_at_once(
    api: FakeApi, krater: Terminal, template: Path, words: list[str]
) -> None:
    lives(api)
    assert krater("capsule", "create", *words, "-f", str(template)).out == "aaaa1111-0000\n"
    assert api.asked("GET", "/capsules/aaaa1111-0000") == []


def test_one_that_has_ended_well_meanwhile_is_no_failure(api: FakeApi, krater: Terminal, template: Path) -> None:
    lives(api, {"status": "Stopped"})
    ended = krater("capsule", "create", "--format", "json", "-f", str(template))
    assert (ended.code, json.loads(ended.out)["status"]) == (0, "Stopped")


@pytest.mark.parametrize("status", ["Error", "Unknown"])
def test_a_failure_is_told_with_its_reason_and_what_to_do(
    api: FakeApi, krater: Terminal, template: Path, status: str
) -> None:
    lives(api, {"status": status, "status_reason": "web: no such image."})
    ended = krater("capsule", "create", "-f", str(template))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines() == [
        f"krater: shop is {status}: web: no such image.",
        "  `krater capsule show shop` says more, `krater capsule logs shop` what it wrote.",
    ]
    assert len(api.capsules) == 1


def test_one_that_keeps_failing_is_given_up_on(api: FakeApi, krater: Terminal, template: Path) -> None:
    again = {"status": "Restarting", "status_reason": "web: Exit code 1."}
    lives(api, again, {"containers": [member("web", restarts=2)]}, {"containers": [member("web", restarts=3)]})
    ended = krater("capsule", "create", "-f", str(template))
    assert ended.code == 1
    assert "shop is Restarting: web: Exit code 1." in ended.err
    assert "Krater goes on trying" in ended.err
    assert len(api.asked("GET", "/capsules/aaaa1111-0000")) == 3


def test_one_that_is_removed_meanwhile_is_gone(api: FakeApi, krater: Terminal, template: Path) -> None:
    lives(api)
    api.answers["GET /capsules/aaaa1111-0000"] = lambda _: refusal(404, "gone")
    ended = krater("capsule", "create", "-f", str(template))
    assert (ended.code, ended.err) == (1, "krater: shop is gone.\n")


def test_a_name_of_ones_own_replaces_that_of_the_template(api: FakeApi, krater: Terminal, template: Path) -> None:
    lives(api)
    krater("capsule", "create", "-d", "--name", "other", "-f", str(template))
    sent = api.asked("POST", "/capsules")[0].body["template"]
    assert sent["metadata"] == {"name": "other", "labels": {"day": "2026-01-31"}}
    assert sent["spec"] == {"containers": [{"image": "busybox"}]}


@pytest.mark.parametrize("text", ["- 1\n", "metadata: 5\n", "a: [", "a: 1\n---\nb: 2\n"])
def test_what_cannot_have_a_name_is_not_sent(api: FakeApi, krater: Terminal, tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    ended = krater("capsule", "create", "--name", "other", "-f", str(tmp_path / "x"))
    assert (ended.code, api.requests) == (1, [])
    assert ended.err.startswith(f"krater: {tmp_path}/x: ")


def test_a_file_that_is_not_there_is_told(api: FakeApi, krater: Terminal) -> None:
    ended = krater("capsule", "create", "-f", "/no/such/file")
    assert (ended.code, ended.err) == (1, "krater: /no/such/file: cannot be read: No such file or directory\n")


def test_a_refused_template_is_told_as_the_server_does(api: FakeApi, krater: Terminal, template: Path) -> None:
    api.answers["POST /v1/capsules"] = lambda _: refusal(400, "template.spec.containers[0].image: expected a name")
    ended = krater("capsule", "create", "-f", str(template))
    assert (ended.code, ended.err) == (1, "krater: template.spec.containers[0].image: expected a name\n")


def test_an_interrupt_leaves_it_alone(api: FakeApi, template: Path) -> None:
    lives(api)
    child = start_krater(api.url, "capsule", "create", "-f", str(template))
    while len(api.asked("GET", "/capsules/aaaa1111-0000")) < 2:
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, complaints = child.communicate(timeout=20)
    assert (child.returncode, out, complaints) == (130, "", "krater: shop goes on without us.\n")
    assert len(api.capsules) == 1


def test_ls_shows_how_many_run_and_why_not_all_do(shop: Any, krater: Terminal) -> None:
    lines = krater("capsule", "ls").out.splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "MEMBERS", "ADDRESSES", "AGE", "REASON", "ID"]
    assert lines[1].split()[:4] == ["shop", "Running", "2/3", "10.66.0.7"]
    assert "web: Not ready." in lines[1]
    assert lines[2].split()[:3] == ["aaaa2222-000", "Stopped", "1/1"]


def test_ls_fits_a_narrow_terminal(shop: Any, krater: Terminal) -> None:
    shop["name"] = "a-capsule-with-a-name-that-is-longer-than-most"
    with krater.wide(60):
        lines = krater("capsule", "ls").out.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].split() == ["NAME", "STATUS", "MEMBERS", "ADDRESSES", "REASON"]


def test_ls_has_the_server_filter(api: FakeApi, shop: Any, krater: Terminal) -> None:
    words = ["--name", "shop", "--status", "running", "-l", "a=b", "--all-projects"]
    shown = json.loads(krater("capsule", "ls", "--format", "json", *words).out)
    assert [one["uuid"] for one in shown] == ["aaaa1111-0000"]
    query = api.requests[0].query
    assert {key: query[key] for key in ("name", "status", "labels", "all_projects")} == {
        "name": "shop",
        "status": "Running",
        "labels": "a=b",
        "all_projects": "true",
    }
    assert krater("capsule", "ls", "-q").out == "aaaa1111-0000\naaaa2222-0000\n"
    assert krater("capsule", "ls", "-l", "a").code == 2


ACTIONS: list[dict[str, Any]] = [
    {"action": "stop", "container_uuid": "dddd0004", "message": "Error", "finish_time": "2026-01-31T12:00:02"},
    {"action": "create", "container_uuid": "aaaa1111-0000", "message": None, "finish_time": "2026-01-31T12:00:01"},
]
for action in ACTIONS:
    action |= {"start_time": "2026-01-31T12:00:00", "request_id": "req-9", "user_id": "u1", "project_id": "p1"}


def test_show_tells_all_about_it(api: FakeApi, shop: Any, krater: Terminal) -> None:
    uses = [{"member": "db", "path": "/data", "read_only": False}, {"member": "web", "path": "/d", "read_only": True}]
    shop["volumes"] = [{"name": "data", "id": "vvvv0000-1", "size": 2, "mounts": uses}]
    api.answers["GET /container_actions"] = lambda _: (200, {"containerActions": ACTIONS})
    out = krater("capsule", "show", "aaaa1").out
    for line in ("Status     Running", "Reason     web: Not ready.", "10.66.0.7 on net1", "data (vvvv0000-1, 2 GiB)"):
        assert line in out
    assert "db at /data\n" in out
    assert "web at /d (read-only)\n" in out
    lines = [line.split() for line in out.splitlines()]
    at = lines.index(["MEMBER", "ROLE", "STATE", "RESTARTS", "READY", "EXIT", "CODE", "REASON"])
    assert [line[:2] for line in lines[at + 1 : at + 5]] == [
        ["fetch", "init"],
        ["proxy", "sidecar"],
        ["web", "main"],
        ["db", "main"],
    ]
    assert lines[at + 3][-2:] == ["0", "no"]
    assert lines[at + 4][-5:] == ["2", "1", "Exit", "code", "1."]
    assert ["db", "stop"] in [line[:2] for line in lines]


def test_show_prints_what_the_api_answered(api: FakeApi, shop: Any, krater: Terminal) -> None:
    assert json.loads(krater("capsule", "show", "shop", "--format", "json").out) == shop
    api.answers["GET /container_actions"] = lambda _: refusal(403, "No.")
    assert "db" in krater("capsule", "show", "shop").out


def test_what_is_not_there_says_where_to_look(shop: Any, krater: Terminal) -> None:
    ended = krater("capsule", "show", "nothing")
    assert (ended.code, ended.err.splitlines()) == (
        1,
        ["krater: There is no capsule nothing.", "  `krater capsule ls` lists the capsules of your project."],
    )


def test_events_are_those_of_all_members(api: FakeApi, shop: Any, krater: Terminal) -> None:
    api.answers["GET /container_actions"] = lambda _: (200, {"containerActions": ACTIONS})
    lines = [line.split() for line in krater("capsule", "events", "shop").out.splitlines()]
    assert lines[0] == ["MEMBER", "ACTION", "STARTED", "TOOK", "RESULT", "REQUEST"]
    assert (lines[1][:2], lines[2][:1]) == (["db", "stop"], ["create"])
    assert json.loads(krater("capsule", "events", "shop", "--format", "json").out) == ACTIONS


def test_the_steps_of_one_request_and_the_history_of_what_is_gone(api: FakeApi, krater: Terminal) -> None:
    steps = [{"event": "start web", "start_time": None, "finish_time": None, "result": "Success", "traceback": None}]
    api.answers["GET /gone-1/container_actions/req-9"] = lambda _: (200, {**ACTIONS[1], "events": steps})
    out = krater("capsule", "events", "gone-1", "req-9").out
    assert "start web" in out
    api.answers["GET /gone-1/container_actions"] = lambda _: (200, {"containerActions": ACTIONS})
    assert "create" in krater("capsule", "events", "gone-1").out


@pytest.mark.parametrize(
    ("words", "path", "status"),
    [
        (["stop", "shop"], "/v1/capsules/aaaa1111-0000/stop", "Stopped"),
        (["start", "shop"], "/v1/capsules/aaaa1111-0000/start", "Running"),
        (["restart", "-t", "5", "aaaa1"], "/v1/capsules/aaaa1111-0000/reboot", "Running"),
    ],
)
def test_changes_are_waited_for(
    api: FakeApi, shop: Any, krater: Terminal, words: list[str], path: str, status: str
) -> None:
    def act(asked: Asked) -> tuple[int, Any]:
        shop["status"] = "Restarting"
        shop["containers"][0]["task_state"] = "container_starting"
        return 202, None

    seen: list[str] = []

    def show(_: Asked) -> tuple[int, Any]:
        seen.append(shop["status"])
        if len(seen) > 2:
            shop["status"], shop["containers"][0]["task_state"] = status, None
        return 200, shop

    api.answers["POST " + path] = act
    api.answers["GET /capsules/aaaa1111-0000"] = show
    ended = krater("capsule", *words)
    assert (ended.code, ended.out) == (0, "shop\n")
    assert len(seen) > 2
    assert api.asked("POST", path)[0].query == ({"timeout": "5"} if "-t" in words else {})


def test_one_that_is_not_as_it_was_asked_to_be_is_told(shop: Any, krater: Terminal) -> None:
    shop["status"], shop["status_reason"] = "Error", "web: no room."
    ended = krater("capsule", "start", "shop")
    assert (ended.code, ended.out, ended.err) == (1, "", "krater: shop is Error: web: no room.\n")


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_single_members_are_changed(api: FakeApi, shop: Any, krater: Terminal, verb: str) -> None:
    status = "Stopped" if verb == "stop" else "Running"
    shop["containers"][0]["status"] = status
    for words in (["capsule", verb], [verb]):
        ended = krater(*words, "shop/web")
        assert (ended.code, ended.out) == (0, "shop/web\n")
    path = f"/v1/containers/dddd0003/{'reboot' if verb == 'restart' else verb}"
    assert len(api.asked("POST", path)) == 2


def test_one_that_is_not_there_keeps_the_others_from_nothing(api: FakeApi, shop: Any, krater: Terminal) -> None:
    ended = krater("capsule", "start", "--no-wait", "nothing", "shop", "shop/nobody")
    assert (ended.code, ended.out) == (1, "shop\n")
    assert "There is no capsule nothing" in ended.err
    assert "shop has no member 'nobody'; it has: fetch, proxy, web, db" in ended.err


def test_rm_refuses_what_runs_and_says_how(api: FakeApi, shop: Any, krater: Terminal) -> None:
    ended = krater("capsule", "rm", "shop", "aaaa2222-0000")
    assert (ended.code, ended.out) == (1, "aaaa2222-000\n")
    assert "krater capsule stop shop" in ended.err
    assert "rm -f" in ended.err
    assert api.capsules == [shop]


def test_rm_waits_until_it_is_gone_and_force_minds_nothing(api: FakeApi, shop: Any, krater: Terminal) -> None:
    def delete(_: Asked) -> tuple[int, Any]:
        shop["status"] = "Deleting"
        return 204, None

    def show(_: Asked) -> tuple[int, Any]:
        if len(api.asked("GET", "/capsules/aaaa1111-0000")) > 2:
            api.capsules.remove(shop)
        return (200, shop) if shop in api.capsules else refusal(404, "gone")

    api.answers["DELETE /capsules/aaaa1111-0000"] = delete
    api.answers["GET /capsules/aaaa1111-0000"] = show
    ended = krater("capsule", "rm", "-f", "shop", "nothing")
    assert (ended.code, ended.out, ended.err) == (0, "shop\n", "")
    assert len(api.asked("GET", "/capsules/aaaa1111-0000")) == 3


def test_rm_says_how_long_members_may_take_only_when_asked(api: FakeApi, shop: Any, krater: Terminal) -> None:
    assert krater("capsule", "rm", "-f", "aaaa2222-0000").code == 0
    assert krater("capsule", "rm", "--timeout", "0", "shop").code == 1, "it is no force"
    assert krater("capsule", "rm", "-f", "-t", "0", "shop").code == 0
    assert [one.query for one in api.requests if one.method == "DELETE"] == [{}, {"timeout": "0"}]
    assert krater("capsule", "rm", "-f", "-t", "-1", "shop").code == 2


def test_rm_hurries_what_is_being_removed_and_asks_twice_for_nothing(api: FakeApi, shop: Any, krater: Terminal) -> None:
    shop["status"] = "Deleting"
    assert krater("capsule", "rm", "--no-wait", "shop").code == 0
    assert shop in api.capsules
    assert krater("capsule", "rm", "--timeout", "5", "shop").code == 0
    assert shop not in api.capsules
    assert [one.query for one in api.requests if one.method == "DELETE"] == [{"timeout": "5"}]


def test_a_member_goes_with_its_capsule(shop: Any, krater: Terminal) -> None:
    ended = krater("rm", "-f", "shop/web")
    assert (ended.code, ended.err) == (1, "krater: shop/web goes with its capsule: krater capsule rm shop.\n")


def test_ps_shows_members_when_asked(api: FakeApi, shop: Any, krater: Terminal) -> None:
    api.containers = [container("lone", uuid="bbbb")]
    assert [line.split()[0] for line in krater("ps").out.splitlines()] == ["NAME", "lone"]
    listed = [line.split()[0] for line in krater("ps", "--capsule", "shop").out.splitlines()]
    assert listed == ["NAME", "shop/fetch", "shop/proxy", "shop/web", "shop/db"]
    everything = krater("ps", "--all-members", "-q", "--running").out.split()
    assert everything == ["bbbb", "dddd0002", "dddd0003", "dddd0004", "eeee0001"]


def test_show_says_what_a_member_is(shop: Any, krater: Terminal) -> None:
    out = krater("show", "shop/web").out
    for words in ("shop/web", "aaaa1111-0000", "main", "no"):
        assert words in [line.split()[-1] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("krater capsule show s", ["shop"]),
        ("krater capsule stop shop/w", ["shop/web"]),
        ("krater capsule logs shop d", ["db"]),
        ("krater exec shop/", ["shop/fetch", "shop/proxy", "shop/web", "shop/db"]),
        ("krater capsule ex", ["exec"]),
    ],
)
def test_names_are_completed(
    shop: Any, krater: Terminal, monkeypatch: pytest.MonkeyPatch, line: str, found: list[str]
) -> None:
    monkeypatch.setenv("_KRATER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert krater().out.split() == [f"plain,{name}" for name in found]


def test_help_imports_no_command(krater: Terminal) -> None:
    shown = krater("capsule", "--help")
    assert shown.code == 0
    for name in ("create", "ls", "logs", "exec", "lint"):
        assert f"  {name} " in shown.out
