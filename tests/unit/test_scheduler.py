"""Choosing a node: every filter objects for its own reason and can say which."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.controller.scheduler.filters import Ask, objections
from krater.controller.scheduler.select import REFUSAL, select
from krater.controller.scheduler.weighers import WEIGHERS, binpack, spread
from krater.errors import NoCapacity
from krater.model.node import Capacity, Inventory, Node
from krater.model.workload import ContainerSpec, Resources, WorkloadSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOWN_AFTER = 60.0


def a_node(id: str = "n1", **changes: object) -> Node:
    inventory = Inventory(cpus=4, memory=4608, disk=100, runtimes=("crun", "runc"), labels={"ssd": "yes"})
    node = Node(id, f"host-{id}", inventory, "nova", NOW, NOW)
    return replace(node, **changes)  # type: ignore[arg-type]


def capacity(
    node: Node | None = None, cpu: float = 0.0, memory: int = 0, disk: int = 0, containers: int = 0
) -> Capacity:
    used = Resources(cpu, memory, disk)
    return Capacity(node or a_node(), used, containers, cpu_ratio=2.0, memory_ratio=1.5, reserved_memory=512)


def ask(cpu: float = 1.0, memory: int = 512, disk: int = 0, **changes: object) -> Ask:
    return replace(Ask(Resources(cpu, memory, disk), NOW, DOWN_AFTER), **changes)  # type: ignore[arg-type]


CASES = [
    (ask(), capacity(a_node(last_seen=NOW - timedelta(seconds=61))), "host is down"),
    (ask(), capacity(a_node(forced_down=True)), "host is down"),
    (ask(), capacity(a_node(disabled=True, disabled_reason="disk swap")), "host is disabled"),
    (ask(host="other"), capacity(), "host is not the requested one"),
    (ask(zone="moon"), capacity(), "host is in another zone"),
    (ask(image_nodes=frozenset({"n2"})), capacity(), "the image is on another host"),
    (ask(image_nodes=frozenset({"n1", "n2"})), capacity(), "the image is on another host"),
    (ask(runtime="kata"), capacity(), "host lacks the runtime"),
    (ask(labels={"ssd": "no"}), capacity(), "host lacks the labels"),
    (ask(labels={"gpu": "yes"}), capacity(), "host lacks the labels"),
    (ask(homes=frozenset({"n2"})), capacity(), "its volume is on another host"),
    (ask(homes=frozenset({"n1", "n2"})), capacity(), "its volumes are on different hosts"),
    (ask(cpu=1.1), capacity(cpu=7.0), "not enough cores"),
    (replace(ask(), resources=Resources(1.0, 512, 0, 1)), capacity(), "not enough dedicated processors"),
    (ask(memory=513), capacity(memory=6144 - 512), "not enough memory"),
    (ask(disk=1), capacity(disk=100), "not enough disk"),
]


@pytest.mark.parametrize(("wanted", "candidate", "reason"), CASES)
def test_each_filter_objects_for_its_own_reason_only(wanted: Ask, candidate: Capacity, reason: str) -> None:
    found = objections(wanted, candidate)
    assert [o.reason for o in found] == [reason]
    assert found[0].detail


def test_an_own_image_leads_to_its_node() -> None:
    container = ContainerSpec(
        "c", "c", "mine", Resources(1, 64), stored_image="krater.local/p/1:latest", stored_on="n2"
    )
    wanted = Ask.of(WorkloadSpec((container,)), default_zone="", down_after=DOWN_AFTER, now=NOW)
    found = select(wanted, [capacity(a_node("n1")), capacity(a_node("n2"))], spread)
    assert [c.node.id for c in found] == ["n2"]


def test_a_node_that_fits_exactly_is_taken() -> None:
    wanted = ask(cpu=1.0, memory=512, disk=1, zone="nova", runtime="crun", host="host-n1", labels={"ssd": "yes"})
    wanted = replace(wanted, homes=frozenset({"n1"}))
    assert objections(wanted, capacity(cpu=7.0, memory=6144 - 512, disk=99)) == []


def test_a_full_disk_does_not_matter_to_who_asks_for_none() -> None:
    assert objections(ask(disk=0), capacity(disk=120)) == []


def test_the_disabled_reason_and_the_figures_are_for_the_operator() -> None:
    (disabled,) = objections(ask(), capacity(a_node(disabled=True, disabled_reason="disk swap")))
    assert "disk swap" in disabled.detail
    (full,) = objections(ask(memory=9000), capacity(memory=100))
    assert full.detail == "9000 MiB asked for, 6044 MiB free"


def test_only_hints_about_labels_matter() -> None:
    spec = WorkloadSpec((ContainerSpec("c", "c", "busybox", Resources(1, 64)),), hints={"label:a": "1", "other": "2"})
    assert Ask.of(spec, default_zone="", down_after=60, now=NOW).labels == {"a": "1"}


def test_the_default_zone_is_for_who_names_none() -> None:
    spec = WorkloadSpec((ContainerSpec("c", "c", "busybox", Resources(1, 64)),))
    assert Ask.of(spec, default_zone="z1", down_after=60, now=NOW).zone == "z1"
    named = replace(spec, availability_zone="z2")
    assert Ask.of(named, default_zone="z1", down_after=60, now=NOW).zone == "z2"


def test_a_refusal_counts_reasons_and_names_no_host() -> None:
    candidates = [
        capacity(a_node("n1", disabled=True)),
        capacity(a_node("n2", disabled=True)),
        capacity(a_node("n3"), memory=6144),
    ]
    with pytest.raises(NoCapacity) as refusal:
        select(ask(), candidates, spread)
    assert refusal.value.message == f"{REFUSAL} Host is disabled (2 of 3), not enough memory (1 of 3)."
    assert set(refusal.value.explanations) == {"host-n1", "host-n2", "host-n3"}
    assert refusal.value.explanations["host-n3"] == "512 MiB asked for, 0 MiB free"


def test_a_refusal_by_the_only_node_is_plain() -> None:
    with pytest.raises(NoCapacity) as refusal:
        select(ask(memory=99999), [capacity()], spread)
    assert refusal.value.message == f"{REFUSAL} Not enough memory."


def test_without_nodes_the_refusal_says_so() -> None:
    with pytest.raises(NoCapacity, match="No host has reported yet"):
        select(ask(), [], spread)


def test_spread_prefers_the_emptiest_and_binpack_the_fullest_that_fits() -> None:
    empty, half, full = capacity(a_node("e")), capacity(a_node("h"), cpu=4.0), capacity(a_node("f"), cpu=8.0)
    assert [c.node.id for c in select(ask(), [full, half, empty], spread)] == ["e", "h"]
    assert [c.node.id for c in select(ask(), [full, half, empty], binpack)] == ["h", "e"]


def test_equal_loads_are_told_apart_by_the_number_of_containers() -> None:
    few, many = capacity(a_node("z"), cpu=1.0, containers=1), capacity(a_node("a"), cpu=1.0, containers=9)
    assert [c.node.id for c in select(ask(), [many, few], spread)] == ["z", "a"]


def test_a_node_whose_image_store_is_down_comes_last_but_is_not_refused() -> None:
    node = a_node("a")
    down = capacity(replace(node, inventory=replace(node.inventory, image_store="down")))
    up = capacity(a_node("b"), cpu=5.0)
    assert [c.node.id for c in select(ask(), [down, up], spread)] == ["b", "a"]
    assert [c.node.id for c in select(ask(), [down], spread)] == ["a"]


@given(
    used=st.lists(st.tuples(st.floats(0, 8), st.integers(0, 6144), st.integers(0, 100)), max_size=6),
    weigher=st.sampled_from(sorted(WEIGHERS)),
    cpu=st.floats(0.1, 8),
    memory=st.integers(4, 6144),
)
def test_whatever_is_selected_has_room_and_whatever_has_room_is_selected(
    used: list[tuple[float, int, int]], weigher: str, cpu: float, memory: int
) -> None:
    candidates = [capacity(a_node(f"n{i}"), *u) for i, u in enumerate(used)]
    wanted = ask(cpu=cpu, memory=memory)
    fitting = {c.node.id for c in candidates if cpu <= 8 - c.used.cpu + 1e-9 and memory <= 6144 - c.used.memory}
    if fitting:
        assert {c.node.id for c in select(wanted, candidates, WEIGHERS[weigher])} == fitting
    else:
        with pytest.raises(NoCapacity) as refusal:
            select(wanted, candidates, WEIGHERS[weigher])
        assert set(refusal.value.explanations) == {c.node.host for c in candidates}
