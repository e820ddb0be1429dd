"""Members of capsules as containers: found, shown, listed; their logs, consoles, images and history."""

import asyncio
import base64
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from krater.bus.archives import PackFiles, UnpackFiles
from krater.bus.messages import Exec, Logs, OpenAttach, OpenExec, ResizeTerminal, Stats, Top
from krater.controller.reports import departures, fold
from krater.errors import NotFound
from krater.model.assignment import ContainerState, Report, StepEvent
from krater.model.reading import Reading
from krater.model.workload import Desired
from krater.store.interfaces import EVERYBODY
from krater.store.sql.workloads import SqlWorkloads
from tests.api.test_logs import LogNode
from tests.support.api import HOST, NODE, FakeAgent, World
from tests.support.stored_capsules import DB, LOGGER, SETUP, WEB, StoredCapsule, member

pytestmark = pytest.mark.thorough

ENDED = {"state": ContainerState.EXITED, "exit_code": 0}
WAITS = {"state": ContainerState.CREATED, "run": 0, "started_at": None}


@pytest.fixture
async def capsule(world: World) -> StoredCapsule:
    return await StoredCapsule.running(world)


async def listed(capsule: StoredCapsule, query: str = "", **more: Any) -> list[str]:
    """The names of members that a list has."""
    answer = await capsule.world.call("GET", f"/v1/containers?capsule={capsule.id}{query}", **more)
    assert answer.status_code == 200, answer.text
    return [one["member_name"] for one in answer.json()["containers"]]


class TestShown:
    async def test_as_a_container_with_what_only_members_have(self, world: World, capsule: StoredCapsule) -> None:
        await capsule.settle(web={"attempt": 2, "ready": True})
        shown = await capsule.shown(WEB)
        link = f"http://krater.test:9517/v1/containers/{capsule.ids[WEB]}"
        assert [one["href"] for one in shown["links"] if one["rel"] == "self"] == [link]
        expected = {
            "uuid": capsule.ids[WEB],
            "name": "capsule-pod-web",
            "project_id": "p-kitchen",
            "status": "Running",
            "cpu": 0.1,
            "memory": "64",
            "addresses": {},
            "ports": [],
            "security_groups": [],
            "labels": {"tier": "front"},
            "interactive": True,
            "restart_policy": {"Name": "no", "MaximumRetryCount": "0"},
            "capsule_uuid": capsule.id,
            "member_name": WEB,
            "role": "main",
            "ready": True,
            "exit_code": None,
            "restarts": 2,
        }
        assert {key: shown[key] for key in expected} == expected
        assert "host" not in shown
        assert (await capsule.shown(DB))["memory"] is None
        assert (await capsule.shown(WEB, who="admin"))["host"] == HOST

    async def test_its_status_is_its_own(self, capsule: StoredCapsule) -> None:
        await capsule.settle(setup=ENDED, logger={"state": ContainerState.RUNNING}, db=WAITS, web=WAITS, settled=False)
        assert [(await capsule.shown(name))["status"] for name in (SETUP, LOGGER, DB)] == [
            "Stopped",
            "Running",
            "Created",
        ]
        await capsule.settle(setup=ENDED | {"exit_code": 3}, db=WAITS, web=WAITS, failure="Failed.", failed=SETUP)
        web = await capsule.shown(WEB)
        assert (web["status"], web["status_reason"]) == (
            "Error",
            "Not started: init container setup failed with exit code 3.",
        )
        assert (await capsule.shown(SETUP))["status_reason"] == "Failed."

    @pytest.mark.parametrize("minor", [1, 31, 32, 40])
    async def test_it_is_the_same_at_all_microversions(self, capsule: StoredCapsule, minor: int) -> None:
        assert await capsule.shown(WEB, version=f"container 1.{minor}") == await capsule.shown(WEB)

    async def test_fields_that_policy_hides_are_hidden(
        self, world: World, capsule: StoredCapsule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
        (world.directory / "policy.yaml").write_text(
            '"container:get_one:links": "!"\n"container:get_one:role": "!"\n"container:get_one:image": "role:admin"\n'
        )
        assert not {"links", "role", "image"} & (await capsule.shown(WEB)).keys()
        assert "image" in await capsule.shown(WEB, who="admin")
        refused = await world.call("GET", f"/v1/containers?capsule={capsule.id}&image=busybox")
        assert refused.status_code == 403


class TestFound:
    @pytest.mark.parametrize("ident", ["id", "pod", WEB, "capsule-pod-web"])
    async def test_only_by_its_id(self, world: World, capsule: StoredCapsule, ident: str) -> None:
        asked = capsule.id if ident == "id" else ident
        answer = await world.call("GET", f"/v1/containers/{asked}")
        assert answer.status_code == 404, answer.text
        assert answer.json()["errors"][0]["code"] == "container.container-not-found"
        assert (await world.call("GET", f"/v1/containers/{asked}/container_actions")).status_code == 404

    async def test_nobody_takes_its_id_for_a_name(self, world: World, capsule: StoredCapsule) -> None:
        """An administrator, who may name all projects' things, must not be led to something of the wrong one."""
        made = await world.make("bob", name=capsule.ids[WEB])
        for who in ("ann", "admin"):
            assert (await capsule.shown(WEB, who=who))["capsule_uuid"] == capsule.id
        assert (await capsule.shown(WEB, who="bob"))["uuid"] == made["uuid"]

    async def test_lone_containers_are_found_with_no_more_questions_than_before(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, asked = await world.running(name="web"), []
        keys = SqlWorkloads._keys

        def counted(self: SqlWorkloads, column: str, *rest: Any) -> Any:
            asked.append(column)
            return keys(self, column, *rest)

        monkeypatch.setattr(SqlWorkloads, "_keys", counted)
        for ident, columns in ((made["uuid"], ["id"]), ("web", ["id", "name"])):
            asked.clear()
            assert (await world.call("GET", f"/v1/containers/{ident}")).status_code == 200
            assert asked == columns


class TestList:
    async def test_has_no_members_unless_a_capsule_is_named(self, world: World, capsule: StoredCapsule) -> None:
        lone = await world.running()
        shown = (await world.call("GET", "/v1/containers")).json()["containers"]
        assert [one["uuid"] for one in shown] == [lone["uuid"]]
        for ident in (capsule.id, "pod"):
            answer = (await world.call("GET", f"/v1/containers?capsule={ident}")).json()
            names = [one["member_name"] for one in answer["containers"]]
            assert (names, answer["next"]) == ([SETUP, LOGGER, DB, WEB], None)
        shown = await capsule.shown(WEB)
        del shown["links"]
        assert answer["containers"][-1] == shown

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("&status=Running", [LOGGER, DB, WEB]),
            ("&status=Stopped&status=Paused", [SETUP]),
            ("&status=Running&name=capsule-pod-web", [WEB]),
            ("&image=alpine", []),
            ("&memory=64", [SETUP, LOGGER, WEB]),
            ("&task_state=container_stopping", []),
            ("&auto_remove=false&user_id=u-ann&project_id=p-kitchen", [SETUP, LOGGER, DB, WEB]),
            ("&auto_remove=true", []),
            ("&sort_dir=desc", [WEB, DB, LOGGER, SETUP]),
            ("&sort_key=name", [DB, LOGGER, SETUP, WEB]),
            ("&limit=2&sort_key=name&sort_dir=desc", [WEB, SETUP]),
        ],
    )
    async def test_filters_and_sorting_are_those_of_lists(
        self, capsule: StoredCapsule, query: str, names: list[str]
    ) -> None:
        assert await listed(capsule, query) == names

    async def test_the_host_is_for_administrators(self, world: World, capsule: StoredCapsule) -> None:
        assert await listed(capsule, f"&host={HOST}", who="admin") == [SETUP, LOGGER, DB, WEB]
        assert await listed(capsule, "&host=other", who="admin") == []
        assert (await world.call("GET", f"/v1/containers?capsule={capsule.id}&host={HOST}")).status_code == 403

    async def test_it_comes_in_pages(self, world: World, capsule: StoredCapsule) -> None:
        first = (await world.call("GET", f"/v1/containers?capsule={capsule.id}&limit=3")).json()
        rest = (await world.call("GET", first["next"].removeprefix("http://krater.test:9517"))).json()
        assert [one["member_name"] for one in (*first["containers"], *rest["containers"])] == [SETUP, LOGGER, DB, WEB]
        assert rest["next"] is None

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("capsule=", 400),
            ("capsule=nothing", 404),
            ("capsule=pod&capsule=pod", 400),
            ("capsule=pod&sort_key=colour", 400),
            ("capsule=pod&marker=nobody", 404),
            ("capsule=pod&limit=0", 400),
            ("capsule=pod&colour=red", 400),
            ("capsule=pod&all_projects=true", 403),
            ("capsule=pod&auto_remove=perhaps", 400),
        ],
    )
    async def test_bad_questions(self, world: World, capsule: StoredCapsule, query: str, status: int) -> None:
        await StoredCapsule.running(world, name="")
        answer = await world.call("GET", f"/v1/containers?{query}")
        assert answer.status_code == status, answer.text

    async def test_of_another_project_there_is_nothing(self, world: World, capsule: StoredCapsule) -> None:
        for ident in (capsule.id, "pod"):
            answer = await world.call("GET", f"/v1/containers?capsule={ident}", who="bob")
            assert answer.status_code == 404
            assert answer.json()["errors"][0]["title"] == f"Capsule {ident} could not be found."
        lone = await world.make()
        assert (await world.call("GET", f"/v1/containers?capsule={lone['uuid']}")).status_code == 404
        assert len(await listed(capsule, who="reader")) == 4
        assert len(await listed(capsule, "&all_projects=true", who="admin")) == 4


class TestAsked:
    async def test_the_node_is_asked_about_the_member(self, world: World, capsule: StoredCapsule) -> None:
        agent, id = FakeAgent(world), capsule.ids[WEB]
        for method, path in (
            ("GET", "/logs"),
            ("POST", "/execute?command=ls"),
            ("POST", "/execute?command=sh&run=false"),
            ("POST", f"/execute_resize?exec_id={'e' * 64}&h=24&w=80"),
            ("GET", "/attach"),
            ("POST", "/resize?h=24&w=80"),
            ("GET", "/top"),
            ("GET", "/stats"),
            ("GET", "/get_archive?path=/etc/motd"),
            ("POST", "/put_archive?path=/etc&data=AAAA"),
        ):
            answer = await capsule.call(WEB, method, path)
            assert answer.status_code == 200, (path, answer.text)
        asked = [one for one in agent.asked if hasattr(one, "container")]
        assert {one.container for one in asked} == {id}
        kinds = [Logs, Exec, OpenExec, ResizeTerminal, OpenAttach, ResizeTerminal, Top, Stats, PackFiles, UnpackFiles]
        assert [type(one) for one in asked] == kinds

    async def test_input_is_the_members_own(self, world: World, capsule: StoredCapsule) -> None:
        FakeAgent(world)
        answer = await capsule.call(DB, path="/attach")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "container.no-interactive-flag")
        assert (await capsule.call(WEB, path="/attach")).status_code == 200

    async def test_a_ticket_is_for_one_member(self, world: World, capsule: StoredCapsule) -> None:
        FakeAgent(world)
        for name in (WEB, DB):
            answer = await capsule.call(name, "POST", "/execute?command=sh&run=false")
            asked = parse_qs(urlsplit(answer.json()["proxy_url"]).query)
            claims = asked["token"][0].partition(".")[0]
            ticket = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
            assert (asked["uuid"], ticket["container"]) == ([capsule.ids[name]], capsule.ids[name])
            assert (ticket["user"], ticket["project"], ticket["session"]) == ("u-ann", "p-kitchen", "e" * 64)

    @pytest.mark.parametrize(
        ("limit", "shown"), [(0, 192.0), (1 << 40, 192.0), (64 << 20, 64.0)], ids=["none", "the node's", "its own"]
    )
    async def test_no_member_has_more_than_the_whole(
        self, world: World, capsule: StoredCapsule, limit: int, shown: float
    ) -> None:
        FakeAgent(world).answers[Stats] = Reading(1.0, 16 << 20, limit, 0, 0, 0, 0)
        stats = (await capsule.call(WEB, path="/stats")).json()
        assert (stats["MEM LIMIT(MiB)"], stats["MEM %"]) == (shown, round(1600 / shown, 2))

    async def test_its_networks_are_the_capsules(self, capsule: StoredCapsule) -> None:
        address = {"subnet_id": "subnet-c", "version": 4, "ip_address": "10.100.0.12"}
        card = {"net_id": "net-c", "port_id": "port-c"}
        new = (await capsule.call(WEB, path="/network_list")).json()
        old = (await capsule.call(DB, path="/network_list", version="container 1.17")).json()
        assert new == {"networks": [card | {"fixed_ips": [address]}]}
        assert old == {"networks": [card | address]}

    async def test_what_does_not_run_is_not_asked(self, world: World, capsule: StoredCapsule) -> None:
        agent = FakeAgent(world)
        for path in ("/top", "/stats", "/attach"):
            answer = await capsule.call(SETUP, path=path)
            assert answer.status_code == 409
            assert answer.json()["errors"][0]["title"].endswith("in Stopped state.")
        assert agent.asked == []


class TestLogs:
    async def test_a_stream_ends_with_the_member(self, world: World, capsule: StoredCapsule) -> None:
        node = LogNode(world, b"one\n")
        over = await capsule.call(SETUP, path="/logs/stream")
        assert (over.status_code, over.content) == (200, b"one\n")
        reading = asyncio.create_task(capsule.call(WEB, path="/logs/stream"))
        await asyncio.sleep(0.2)
        assert not reading.done()
        node.text += b"two\n"
        await capsule.settle(web=ENDED)
        assert (await reading).content == b"one\ntwo\n"
        assert {asked.container for asked in node.asked} == {capsule.ids[SETUP], capsule.ids[WEB]}

    async def test_they_outlive_the_capsule(self, world: World, capsule: StoredCapsule) -> None:
        agent, row = FakeAgent(world), await capsule.row()

        def leave(tx: Any) -> None:
            tx.departures.add(departures(row, world.clock()))
            tx.workloads.delete(capsule.id)

        await world.store.write(leave)
        for path in ("/logs", "/logs/stream"):
            answer = await capsule.call(WEB, path=path)
            assert answer.status_code == 200, answer.text
            assert "line" in answer.text
            assert (await capsule.call(WEB, path=path, who="bob")).status_code == 404
            for name in (WEB, "pod"):
                assert (await world.call("GET", f"/v1/containers/{name}{path}")).status_code == 404
        assert {asked.container for asked in agent.asked} == {capsule.ids[WEB]}
        assert (await capsule.call(WEB)).status_code == 404


class TestCommit:
    @pytest.mark.parametrize("name", [WEB, SETUP])
    async def test_the_image_is_of_the_member(self, world: World, capsule: StoredCapsule, name: str) -> None:
        answer = await capsule.call(name, "POST", "/commit?repository=mine")
        assert answer.status_code == 202, answer.text
        [image] = await world.store.read(lambda tx: tx.own_images.on_node(NODE))
        assert (image.id, image.source, image.node) == (answer.json()["uuid"], capsule.ids[name], NODE)
        [told] = (await capsule.call(name, path="/container_actions")).json()["containerActions"]
        assert (told["action"], told["finish_time"]) == ("commit", None)
        assert (await capsule.row()).intent.generation == 1
        deleted = await world.call("DELETE", f"/v1/own_images/{image.id}")
        assert deleted.status_code == 204
        [told] = (await capsule.call(name, path="/container_actions")).json()["containerActions"]
        assert told["message"] == "The image was deleted before it was made."


class TestHistory:
    async def report(self, capsule: StoredCapsule, *steps: tuple[str, str]) -> None:
        """The node did these steps, and all that was asked of it."""
        row, at = await capsule.row(), capsule.world.clock()
        events = tuple(StepEvent(step, at, at, container=capsule.ids.get(name, "")) for step, name in steps)
        report = Report(capsule.id, 1, row.intent.generation, events=events)
        await capsule.world.store.write(lambda tx: fold(tx, NODE, [report], at))

    async def events(self, capsule: StoredCapsule, name: str, request: str) -> list[str]:
        told = (await capsule.call(name, path=f"/container_actions/{request}")).json()
        return [event["event"].split()[0] for event in told["events"]]

    async def test_what_was_asked_of_a_member_has_its_steps(self, world: World, capsule: StoredCapsule) -> None:
        answers = {name: await capsule.call(name, "POST", "/stop") for name in (WEB, DB)}
        await self.report(capsule, ("stop", WEB), ("stop", DB), ("start", LOGGER), ("plug", ""))
        for name, answer in answers.items():
            request = answer.headers["x-openstack-request-id"]
            assert await self.events(capsule, name, request) == ["stop"]
        await capsule.settle()
        await self.report(capsule, ("start", WEB))
        assert await self.events(capsule, WEB, answers[WEB].headers["x-openstack-request-id"]) == ["stop"]

    async def test_it_outlives_the_capsule(self, world: World, capsule: StoredCapsule) -> None:
        await capsule.call(WEB, "POST", "/stop")
        await world.store.write(lambda tx: tx.workloads.delete(capsule.id))
        [told] = (await capsule.call(WEB, path="/container_actions")).json()["containerActions"]
        assert told["action"] == "stop"
        assert (await capsule.call(WEB, path="/container_actions", who="bob")).status_code == 404
        assert (await capsule.call(DB, path="/container_actions")).status_code == 404


async def test_a_member_of_a_capsule_that_goes_is_going(world: World, capsule: StoredCapsule) -> None:
    await capsule.want(desired=Desired.REMOVED)
    assert {(await capsule.shown(name))["status"] for name in capsule.ids} == {"Deleting"}
    with pytest.raises(NotFound):
        await world.store.read(lambda tx: tx.workloads.of_container(EVERYBODY, capsule.id))


async def test_a_capsule_of_one_is_a_capsule(world: World) -> None:
    only = replace(member("only"), interactive=True)
    capsule = await StoredCapsule.running(world, containers=(only,))
    assert (await capsule.shown("only"))["role"] == "main"
    assert (await capsule.call("only", "DELETE")).status_code == 409
