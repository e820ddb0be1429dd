"""Which names a node's workloads answer to."""

from krater.agent.names import records
from krater.model.assignment import Assignment
from krater.model.network import Address, Nic
from krater.model.workload import Desired, Intent


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
    assert set(table["red"]) == {"web", "id-1"}


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
