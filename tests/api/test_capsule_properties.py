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


odd: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(["", "0", "-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def some(*values: Any) -> st.SearchStrategy[Any]:
    """One of these."""
    return st.sampled_from(values)


def items(required: Json | None = None, **optional: Any) -> st.SearchStrategy[Json]:
    """An object with these, and any of those."""
    return st.fixed_dictionaries(required or {}, optional=optional)


words = st.lists(st.text(min_size=1, max_size=5) | st.integers(), min_size=1, max_size=3)
ports = some(80, "80", 1, 65535, 0)
amounts = items(cpu=some(0.1, "0.5", 2, None), memory=some(4, "64", 512, None))
ways = st.one_of(
    items({"exec": items({"command": words})}),
    items({"httpGet": items({"port": ports}, path=some("/", "/a", "/a b"))}),
    items({"tcpSocket": items({"port": ports})}),
)
probes = st.builds(lambda way, more: way | more, ways, items(periodSeconds=st.integers(1, 90_000)))
mounts = items(
    {"name": some("v1", "v2"), "mountPath": some("/a", "/a/b", "/c/", "/d", "/proc")}, readOnly=st.booleans()
)
members = items(
    {"image": some("busybox", "busybox", "a.example/b:c", "busybox@sha256:" + "0" * 64)},
    command=words,
    args=words,
    entrypoint=words,
    env=st.dictionaries(st.text(min_size=1, max_size=4), st.text(max_size=4), max_size=2),
    workDir=some("/", "", "x"),
    resources=items(requests=amounts),
    ports=st.lists(items({"containerPort": ports}), max_size=2),
    volumeMounts=st.lists(mounts, max_size=2, unique_by=lambda mount: mount["mountPath"]),
    imagePullPolicy=some("Always", "never", None),
)
volumes = st.one_of(
    items({"cinder": items({"size": some(1, "1", 2.0, 1.5)}, autoRemove=st.booleans())}),
    items({"file": items({"content": some("", "aGk=")})}),
)


@st.composite
def templates(draw: st.DrawFn) -> Json:
    """A template that is right, but for what its parts are to each other, most of the time."""
    inits, mains = draw(st.lists(members, max_size=2)), draw(st.lists(members, min_size=1, max_size=3))
    crew = [*inits, *mains]
    for n, one in enumerate(crew):
        if draw(st.booleans()):
            one["name"] = f"m{n}"
        if n < len(inits) and draw(st.booleans()):
            one["restartPolicy"] = "Always"
        if n >= len(inits) or "restartPolicy" in one:
            one.update(draw(items(livenessProbe=probes, readinessProbe=probes, startupProbe=probes)))
    named = [one["name"] for one in crew if "name" in one]
    for one in mains:
        others = [name for name in named if name != one.get("name")]
        if others and draw(some(True, False)):
            condition = some("started", "started", "healthy", "completed")
            one["dependsOn"] = [{"container": draw(some(*others)), "condition": draw(condition)}]
    used = sorted({mount["name"] for one in crew for mount in one.get("volumeMounts", ())})
    spec = {"containers": mains, "initContainers": inits, "volumes": [{"name": v, **draw(volumes)} for v in used]}
    more = items(
        restartPolicy=some("Always", "OnFailure", "Never"),
        resources=items(limits=items(cpu=some(1, 4), memory=some(256, 1024))),
        securityGroups=some([], ["default"], ["none"]),
        terminationGracePeriodSeconds=some(0, 5, 10**6),
    )
    metadata = draw(items(name=some("web", None), labels=st.dictionaries(st.text(max_size=3), st.text(max_size=3))))
    return {"kind": "capsule", "metadata": metadata, "spec": spec | draw(more)}


@st.composite
def near_misses(draw: st.DrawFn) -> Any:
    """A template with something else in one of its places."""
    whole: Any = draw(templates())
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
@given(value=templates())
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
