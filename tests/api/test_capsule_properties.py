"""What holds for any template at all: no 500, a refusal that names its place, and nothing left behind; what is taken is
stored as it was asked for.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from krater.model.member import Role
from krater.model.quota import Limits, Usage
from tests.support.api import World, open_world
from tests.support.capsules import URL, leftovers, post, stored

pytestmark = pytest.mark.thorough

TRIES = settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
Json = dict[str, Any]


class Stand:
    """A world, and a loop to live in: hypothesis calls plain functions."""

    def __init__(self, directory: Path) -> None:
        self.runner = asyncio.Runner()
        self._opened = open_world(directory)
        self.world: World = self.runner.run(self._opened.__aenter__())
        self.runner.run(
            self.world.store.write(lambda tx: tx.quotas.set_limits("p-kitchen", {"containers": 1000, "cpu": -1}))
        )

    def close(self) -> None:
        """Let go."""
        self.runner.run(self._opened.__aexit__(None, None, None))
        self.runner.close()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    opened = Stand(tmp_path_factory.mktemp("capsules"))
    try:
        yield opened
    finally:
        opened.close()


nothing: st.SearchStrategy[Any] = st.none()
odd: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(["", "0", "-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
words = st.lists(st.text(max_size=5) | st.integers(), max_size=3)
member_names = st.sampled_from(["aa", "bb", "cc", "dd"])
volume_names = st.sampled_from(["v1", "v2"])
ports: st.SearchStrategy[Any] = st.integers(0, 65536) | st.sampled_from(["80", "0"])
amounts = st.fixed_dictionaries(
    {}, optional={"cpu": st.sampled_from([0.1, "0.5", 2, 99, None]), "memory": st.sampled_from([4, "64", 512, 3, None])}
)
resources = st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts})
probes = st.fixed_dictionaries(
    {},
    optional={
        "exec": st.fixed_dictionaries({"command": words}),
        "httpGet": st.fixed_dictionaries({"port": ports}, optional={"path": st.sampled_from(["/", "/a b", "x"])}),
        "tcpSocket": st.fixed_dictionaries({"port": ports}),
        "periodSeconds": st.integers(0, 100_000),
    },
)
members = st.fixed_dictionaries(
    {"image": st.sampled_from(["busybox", "a.example/b:c", "Up/per", "x" * 300, "busybox@sha256:" + "0" * 64])},
    optional={
        "name": member_names | st.text(max_size=4),
        "command": words,
        "args": words,
        "entrypoint": words,
        "env": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
        "workDir": st.sampled_from(["/", "", "x"]),
        "resources": resources,
        "ports": st.lists(st.fixed_dictionaries({"containerPort": ports}), max_size=2),
        "volumeMounts": st.lists(
            st.fixed_dictionaries(
                {"name": volume_names, "mountPath": st.sampled_from(["/a", "/a/b", "/a/", "//", "/proc", "/b/../c"])},
                optional={"readOnly": st.booleans()},
            ),
            max_size=3,
        ),
        "imagePullPolicy": st.sampled_from(["Always", "never", None, "x"]),
        "dependsOn": st.lists(
            st.fixed_dictionaries(
                {"container": member_names},
                optional={"condition": st.sampled_from(["started", "healthy", "completed"])},
            ),
            max_size=2,
        ),
        "restartPolicy": st.sampled_from(["Always", "Never"]),
        "livenessProbe": probes,
        "readinessProbe": probes,
        "startupProbe": probes,
    },
)
volumes = st.fixed_dictionaries(
    {"name": volume_names},
    optional={
        "cinder": st.fixed_dictionaries(
            {},
            optional={
                "size": st.sampled_from([1, "1", 0, 1.5, 10**6]),
                "volumeID": st.just("none"),
                "autoRemove": st.booleans(),
            },
        ),
        "file": st.fixed_dictionaries({"content": st.sampled_from(["", "aGk=", "?"])}),
    },
)
templates = st.fixed_dictionaries(
    {
        "kind": st.just("capsule"),
        "metadata": st.fixed_dictionaries(
            {}, optional={"name": st.sampled_from(["web", None, "x"]), "labels": nothing}
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(members, min_size=1, max_size=3)},
            optional={
                "initContainers": st.lists(members, max_size=2),
                "volumes": st.lists(volumes, max_size=2),
                "restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
                "resources": resources,
                "securityGroups": st.sampled_from([[], ["default"], ["none"]]),
                "terminationGracePeriodSeconds": st.integers(0, 10**6),
            },
        ),
    }
)


@st.composite
def near_misses(draw: st.DrawFn) -> Any:
    """A template with something else in one of its places."""
    whole: Any = draw(templates)
    place, inner = whole, whole
    for _ in range(draw(st.integers(1, 6))):
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
        if not keys:
            break
        place, at = inner, draw(st.sampled_from(keys))
        inner = inner[at]
    if isinstance(place, dict | list) and place:
        place[at] = draw(odd)
    return whole


def judge(stand: Stand, value: Any, asked: Any) -> None:
    """Send it; what holds for every answer."""
    run, world = stand.runner.run, stand.world
    answer = run(post(world, asked))
    assert answer.status_code in (202, 400, 403, 404, 409), answer.text[:500]
    if answer.status_code == 202:
        made = answer.json()
        try:
            agree(run(stored(world, made["uuid"])), value)
            assert run(world.call("GET", f"{URL}/{made['uuid']}")).json() == made | {"addresses": {}}
        finally:
            run(clear(world, made["uuid"]))
    else:
        [error] = answer.json()["errors"]
        assert len(error["title"]) < 2000, "a refusal does not echo what it was sent"
    assert run(leftovers(world)) == [], answer.text


def agree(workload: Any, value: Json) -> None:
    """What is stored is what was asked for."""
    spec = value["spec"]
    containers = workload.spec.containers
    assert [c.image for c in containers if c.role is not Role.MAIN] == [
        m["image"] for m in spec.get("initContainers", [])
    ]
    assert sorted(c.image for c in containers if c.role is Role.MAIN) == sorted(m["image"] for m in spec["containers"])
    place = {c.id: n for n, c in enumerate(containers)}
    assert all(place[d.container] < place[c.id] for c in containers for d in c.depends_on)
    assert len({c.name for c in containers}) == len(containers)
    whole = workload.spec.resources
    assert all(c.resources.cpu <= whole.cpu and c.resources.memory <= whole.memory for c in containers)
    assert all(m.volume or m.file for c in containers for m in c.mounts)


async def clear(world: World, id: str) -> None:
    """What the controller does when a capsule goes."""

    def forget(tx: Any) -> None:
        [row] = tx.workloads.by_ids([id])
        for volume in tx.volumes.held_by([id]):
            tx.volumes.release(id)
            if volume.name:
                tx.volumes.remove(volume.id)
        tx.volumes.release(id)
        tx.security_groups.leave(id)
        used = row.spec.resources
        less = Usage(-len(row.spec.containers), -used.cpu, -used.memory, -used.disk)
        tx.quotas.charge(row.project_id, less, Limits())
        tx.workloads.delete(id)

    await world.store.write(forget)


@TRIES
@given(value=templates)
def test_templates_that_are_nearly_right(stand: Stand, value: Any) -> None:
    judge(stand, value, value)


@TRIES
@given(value=near_misses())
def test_templates_with_something_else_in_a_place(stand: Stand, value: Any) -> None:
    judge(
        stand,
        value,
        json.loads(json.dumps(value).replace("NaN", "1e9").replace("-Infinity", "1").replace("Infinity", "1")),
    )


@TRIES
@given(value=near_misses())
def test_the_same_as_yaml(stand: Stand, value: Any) -> None:
    judge(stand, value, yaml.safe_dump(value))


@TRIES
@given(text=st.text(max_size=60) | st.text(alphabet="{}[]:,-&*!?|>'\"%@` \n\tab01.<~=#\\xu", max_size=40))
def test_texts_of_any_kind(stand: Stand, text: str) -> None:
    answer = stand.runner.run(post(stand.world, text))
    assert answer.status_code == 400, answer.text[:500]
