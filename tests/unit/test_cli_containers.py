"""Commands that look at containers, change their state and remove them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from krater.cli.commands import COMMANDS, LazyGroup
from krater.cli.main import krater as root
from tests.support.fake_api import Asked, FakeApi, container, refusal
from tests.support.terminal import Terminal


@pytest.fixture
def two(api: FakeApi) -> FakeApi:
    api.containers = [
        container("web", uuid="aaaa1111-0000", labels={"tier": "front"}),
        container("job", uuid="aaaa2222-0000", status="Stopped", status_detail="Exited(0) 1 hours ago "),
    ]
    return api


def becomes(one: dict[str, Any], **changes: Any) -> Callable[[Asked], tuple[int, Any]]:
    """An action that is agreed to and done at once."""

    def answer(_: Asked) -> tuple[int, Any]:
        one.update(changes)
        return 202, None

    return answer


def test_every_command_can_be_imported() -> None:
    import click

    group = LazyGroup()
    context = click.Context(root)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None, name
        assert command.get_short_help_str(200), name


def test_help_imports_no_command(krater: Terminal) -> None:
    shown = krater("--help")
    assert shown.code == 0
    assert all(f"  {name}  " in shown.out for name in COMMANDS)


def test_ps_shows_all_and_fits(two: FakeApi, krater: Terminal) -> None:
    with krater.wide(60):
        lines = krater("ps").out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "web", "job"]
    assert max(map(len, lines)) <= 60
    assert "10.66.0.5" in krater("ps").out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--running"], ["web"]),
        (["--filter", "name=jo"], ["job"]),
        (["--filter", "status=stopped"], ["job"]),
        (["--filter", "label=tier"], ["web"]),
        (["--filter", "label=tier=back"], []),
        (["--filter", "image=alpine"], ["web", "job"]),
        (["--filter", "name=web", "--filter", "name=job"], ["web", "job"]),
        (["--filter", "name=web", "--filter", "status=stopped"], []),
    ],
)
def test_ps_filters(two: FakeApi, krater: Terminal, words: list[str], names: list[str]) -> None:
    shown = json.loads(krater("ps", "--format", "json", *words).out)
    assert [c["name"] for c in shown] == names


def test_ps_prints_ids_for_programs(two: FakeApi, krater: Terminal) -> None:
    assert krater("ps", "-q").out == "aaaa1111-0000\naaaa2222-0000\n"


def test_a_wrong_filter_is_misuse(two: FakeApi, krater: Terminal) -> None:
    ended = krater("ps", "--filter", "colour=red")
    assert ended.code == 2
    assert ended.err.startswith("krater: --filter colour=red: expected name=")


def test_show_is_a_panel_or_json(two: FakeApi, krater: Terminal) -> None:
    shown = krater("show", "aaaa1")
    assert "Name       web\n" in shown.out
    assert "Status     Running (Up 5 mins)\n" in shown.out
    assert "10.66.0.5 on net1" in shown.out
    assert json.loads(krater("show", "web", "--format", "json").out)["uuid"] == "aaaa1111-0000"


def test_an_ambiguous_beginning_is_an_error(two: FakeApi, krater: Terminal) -> None:
    ended = krater("show", "aaaa")
    assert ended.code == 1
    assert ended.err == "krater: The ids of aaaa1111-000 (web), aaaa2222-000 (job) begin with aaaa.\n"


def test_what_is_not_there_says_where_to_look(two: FakeApi, krater: Terminal) -> None:
    ended = krater("show", "nothing")
    assert ended.code == 1
    assert ended.err.splitlines() == [
        "krater: No such container.",
        "  `krater ps` lists the containers of your project.",
    ]


def test_a_server_that_is_not_there_says_how_to_start_it(krater: Terminal) -> None:
    ended = krater("--url", "http://127.0.0.1:1", "ps")
    assert ended.code == 1
    assert ended.err.splitlines()[0] == "krater: Nothing listens at http://127.0.0.1:1."
    assert "krater serve" in ended.err


def test_a_wrong_password_says_where_it_came_from(api: FakeApi, krater: Terminal) -> None:
    api.answers["GET /containers"] = lambda _: refusal(401, "The user name or the password is wrong.", "unauthorized")
    ended = krater("ps")
    assert ended.code == 1
    assert "the password of user 'ann' from the environment" in ended.err


def test_nobody_sees_a_traceback(api: FakeApi, krater: Terminal) -> None:
    api.answers["GET /containers"] = lambda _: (200, {"containers": [{"name": 1}], "next": None})
    ended = krater("ps")
    assert ended.code == 1
    assert ended.err.startswith("krater: This should not happen: ")
    assert "Traceback" not in ended.err


def test_stopping_waits_until_it_is_so(two: FakeApi, krater: Terminal) -> None:
    web = two.containers[0]
    two.answers["POST /stop"] = becomes(web, task_state="container_stopping")
    polls = iter(range(3))

    def stopping(_: Asked) -> tuple[int, Any]:
        if two.asked("POST", "/stop") and next(polls, None) is None:
            web.update(status="Stopped", task_state=None)
        return 200, web

    two.answers[f"GET {web['uuid']}"] = stopping
    two.answers["GET /web"] = lambda _: (200, web)
    ended = krater("stop", "-t", "3", "web")
    assert (ended.code, ended.out) == (0, "web\n")
    assert two.asked("POST", "/stop")[0].query == {"timeout": "3"}
    assert web["status"] == "Stopped"


def test_one_failure_does_not_keep_the_others(two: FakeApi, krater: Terminal) -> None:
    two.answers["POST /aaaa2222-0000/start"] = becomes(two.containers[1], status="Running")
    ended = krater("start", "nothing", "job")
    assert (ended.code, ended.out) == (1, "job\n")
    assert ended.err.startswith("krater: No such container.")


def test_an_action_that_failed_says_why(two: FakeApi, krater: Terminal) -> None:
    two.answers["POST /start"] = becomes(two.containers[1], status="Error", status_reason="no such command")
    ended = krater("start", "job")
    assert (ended.code, ended.out, ended.err) == (1, "", "krater: job: no such command\n")


def test_the_state_that_forbids_an_action_is_told(two: FakeApi, krater: Terminal) -> None:
    two.answers["POST /pause"] = lambda _: refusal(409, "Cannot pause container job in Stopped state")
    ended = krater("pause", "job")
    assert (ended.code, ended.err) == (1, "krater: Cannot pause container job in Stopped state\n")


def test_removing_waits_until_it_is_gone(two: FakeApi, krater: Terminal) -> None:
    ended = krater("rm", "aaaa2")
    assert (ended.code, ended.out) == (0, "job\n")
    assert [c["name"] for c in two.containers] == ["web"]


def test_a_running_one_is_not_removed_by_accident(two: FakeApi, krater: Terminal) -> None:
    ended = krater("rm", "web")
    assert ended.code == 1
    assert ended.err == "krater: web is Running. Stop it first (krater stop web) or use rm -f.\n"
    assert len(two.containers) == 2


def test_force_stops_what_runs(two: FakeApi, krater: Terminal) -> None:
    assert krater("rm", "-f", "web", "job").code == 0
    assert [r.query for r in two.requests if r.method == "DELETE"] == [{"stop": "true"}, {}]


@pytest.mark.parametrize(("refused", "code"), [(False, 0), (True, 1)])
def test_force_in_the_middle_of_something_is_for_administrators(
    two: FakeApi, krater: Terminal, refused: bool, code: int
) -> None:
    web = two.containers[0]
    web["status"] = "Restarting"

    def delete(asked: Asked) -> tuple[int, Any]:
        if "force" not in asked.query:
            return refusal(409, "Cannot delete_stop container web in Restarting state")
        if refused:
            return refusal(403, "Policy doesn't allow container:delete_force to be performed.")
        two.containers.remove(web)
        return 204, None

    two.answers["DELETE /aaaa1111-0000"] = delete
    ended = krater("rm", "-f", "web")
    assert ended.code == code
    assert ("ask an administrator to remove web" in ended.err) == refused


def test_forced_removal_of_nothing_is_fine(two: FakeApi, krater: Terminal) -> None:
    assert krater("rm", "-f", "nothing").code == 0
    assert krater("rm", "nothing").code == 1


def test_the_log_of_a_container_that_is_gone_can_be_read_and_not_followed(two: FakeApi, krater: Terminal) -> None:
    two.answers["GET /containers/aaaa9999-0000/logs"] = lambda _: (200, "last words\n")
    assert krater("logs", "aaaa9999-0000").out == "last words\n"
    assert krater("logs", "-f", "aaaa9999-0000").out == "last words\n"
    never = krater("logs", "aaaa8888-0000")
    assert (never.code, never.out) == (1, "")
    assert "No such container" in never.err


def test_health_is_shown(api: FakeApi, krater: Terminal) -> None:
    check = {"test": "wget -q localhost", "interval": 30, "retries": 3}
    words = {"status_detail": "Up 5 mins (unhealthy)", "status_reason": "Its health check failed 3 times in a row"}
    api.containers = [container("web", uuid="aaaa1111-0000", healthcheck=check, **words)]
    assert "Up 5 mins (unhealthy)" in krater("ps").out
    shown = krater("show", "web").out
    assert "wget -q localhost (every 30s, failing 3 times)" in shown
    assert "failed 3 times in a row" in shown


def test_logs_come_as_they_are(two: FakeApi, krater: Terminal) -> None:
    two.answers["GET /logs"] = lambda _: (200, "no newline ü\x1b[31m")
    assert krater("logs", "web", "-n", "5").out == "no newline ü\x1b[31m"
    assert two.asked("GET", "/logs")[0].query["tail"] == "5"


def test_exec_passes_output_and_exit_code_on(two: FakeApi, krater: Terminal) -> None:
    two.answers["POST /execute"] = lambda _: (200, {"output": "hello", "exit_code": 7})
    ended = krater("exec", "web", "sh", "-c", "echo hello; exit 7")
    assert (ended.code, ended.out) == (7, "hello")


def test_exec_that_cannot_run_is_125(two: FakeApi, krater: Terminal) -> None:
    two.answers["POST /execute"] = lambda _: refusal(409, "Cannot execute container job in Stopped state")
    assert krater("exec", "job", "ls").code == 125
    assert krater("exec", "-it", "web", "sh").code == 2


def test_names_of_containers_are_completed(two: FakeApi, krater: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_KRATER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "krater stop ")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert krater().out.split() == ["plain,web", "plain,job"]
    monkeypatch.setenv("COMP_WORDS", "krater unp")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert krater().out.split() == ["plain,unpause"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_script(krater: Terminal, shell: str) -> None:
    assert "_KRATER_COMPLETE" in krater("completion", shell).out


def test_update_and_rename(two: FakeApi, krater: Terminal) -> None:
    assert krater("update", "web", "--memory", "1g", "--cpu", "0.5").code == 0
    assert two.asked("PATCH", "aaaa1111-0000")[0].body == {"cpu": 0.5, "memory": 1024}
    assert krater("rename", "web", "front").out == "front\n"
    assert krater("update", "front").code == 2


def test_version_works_without_a_server(krater: Terminal) -> None:
    ended = krater("--url", "http://127.0.0.1:1", "version")
    assert ended.code == 0
    assert "Nothing listens" in ended.out
