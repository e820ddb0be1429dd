"""Which names a node's workloads answer to."""

from dataclasses import replace

from krater.agent.names import host_lines, records
from krater.model.assignment import Assignment
from krater.model.network import Address, Nic
from krater.model.workload import ContainerSpec, Desired, Intent, Resources, default_hostname


def nic(network: str, *addresses: str) -> Nic:
    found = tuple(Address(one, 24, None) for one in addresses)
    return Nic(port=f"port-{addresses[0]}", network=network, mac="02:00:00:00:00:01", name="eth0", addresses=found)


def assignment(workload: str, name: str, hostname: str, *nics: Nic) -> Assignment:
    intent = Intent(Desired.RUNNING)
    return Assignment(workload, 1, intent, "project", name, hostname, (), nics)


def test_a_workload_answers_to_its_name_its_host_name_and_its_id() -> None:
    table = records([assignment("id-1", "web", "web-host", nic("red", "10.0.0.2"))])
    assert table == {"red": dict.fromkeys(("web", "web-host", "id-1"), ("10.0.0.2",))}


def test_names_are_lower_case() -> None:
    table = records([assignment("id-1", "WEB", "Web", nic("red", "10.0.0.2"))])
    assert table["red"] == dict.fromkeys(("web", "id-1"), ("10.0.0.2",))


def test_a_name_equal_to_the_host_name_is_answered_once() -> None:
    table = records([assignment("id-1", "web", "web", nic("red", "10.0.0.2"))])
    assert table["red"]["web"] == ("10.0.0.2",)


def test_workloads_that_share_a_name_are_all_answered() -> None:
    one = assignment("id-1", "web", "h1", nic("red", "10.0.0.2"))
    two = assignment("id-2", "web", "h2", nic("red", "10.0.0.3", "fd00::3"))
    assert records([one, two])["red"]["web"] == ("10.0.0.2", "10.0.0.3", "fd00::3")


def test_a_name_is_known_on_the_workloads_own_networks_only() -> None:
    one = assignment("id-1", "web", "h1", nic("red", "10.0.0.2"), nic("blue", "10.0.1.2"))
    two = assignment("id-2", "db", "h2", nic("blue", "10.0.1.3"))
    table = records([one, two])
    assert table["red"]["web"] == ("10.0.0.2",)
    assert table["blue"]["web"] == ("10.0.1.2",)
    assert "db" not in table["red"]


def test_no_workloads_have_no_names() -> None:
    assert records([]) == {}


def capsule(name: str, *members: str) -> Assignment:
    """Without a host name of its own, on two networks."""
    id = "0123456789abcdef" * 2
    made = assignment(id, name, default_hostname(name, id), nic("red", "10.0.0.2"), nic("blue", "10.1.0.2", "fd00::2"))
    specs = tuple(ContainerSpec(f"m{n}", member, "busybox", Resources(1.0, 64)) for n, member in enumerate(members))
    return replace(made, containers=specs, whole=Resources(2.0, 128))


def test_a_capsule_without_a_name_answers_to_its_host_name_and_its_id() -> None:
    table = records([capsule("", "web", "db")])
    assert set(table["red"]) == {"0123456789ab", "0123456789abcdef" * 2}
    assert table["blue"]["0123456789ab"] == ("10.1.0.2", "fd00::2")


def test_two_capsules_without_a_name_have_none_in_common() -> None:
    other = replace(capsule(""), workload="f" * 32, hostname=default_hostname("", "f" * 32))
    assert "" not in records([capsule(""), other])["red"]


def test_members_find_each_other_by_name_at_all_their_addresses() -> None:
    names = "0123456789ab web db"
    lines = (("10.0.0.2", names), ("10.1.0.2", names), ("fd00::2", names))
    assert host_lines(capsule("", "web", "db")) == lines
    assert host_lines(capsule("shop", "web", "shop"))[0] == ("10.0.0.2", "shop web")


def test_a_container_knows_itself_by_its_names_only() -> None:
    alone = replace(capsule("web", "web"), whole=None, hostname="front")
    assert host_lines(alone)[0] == ("10.0.0.2", "front web")
    assert host_lines(replace(alone, nics=())) == ()


def test_nobody_is_called_localhost() -> None:
    assert host_lines(capsule("shop", "localhost", "web"))[0] == ("10.0.0.2", "shop web")
