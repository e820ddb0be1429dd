"""Which test (or function of tests) runs which command of the unmodified clients, and that none is forgotten.

Not run, because it is not about containers: `zun help`, `zun bash-completion`.
"""

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.support.server import CLIENTS, run

pytestmark = pytest.mark.live

HERE = Path(__file__).parent

ZUN = {
    "test_zun.py::test_run_show_logs_and_delete": "run logs delete list",
    "test_zun.py::shown": "show",
    "test_zun.py::test_create_start_exec_top_stats_stop": (
        "create start exec stats pause unpause restart stop kill rebuild"
    ),
    "test_zun.py::test_update_renames_and_resizes": "update",
    "test_zun.py::test_actions_are_listed_and_shown": "action-list action-show",
    "test_zun.py::test_lists_show_what_is_there": "availability-zone-list version-list host-list",
    "test_zun.py::test_host_show_and_service_switches": "host-show",
    "test_zun.py::test_commit_search_and_run_again": "commit image-search",
    "test_consoles.py::test_zuns_clients_attach": "attach",
    "test_copying.py::test_cp_both_ways": "cp",
    "test_images.py::test_zun_images": "pull image-list image-show image-delete",
    "test_networks.py::test_networks_are_attached_listed_and_detached": "network-attach network-detach network-list",
    "test_networks.py::test_security_groups_and_exposed_ports": "add-security-group remove-security-group",
    "test_registries_quotas.py::test_zun_registries": (
        "registry-create registry-list registry-show registry-update registry-delete"
    ),
    "test_registries_quotas.py::test_zun_quotas": (
        "quota-get quota-update quota-delete quota-defaults quota-class-get quota-class-update"
    ),
    "test_services.py::test_zun_services": "service-disable service-enable service-force-down service-list",
    "test_services.py::delete": "service-delete",
    "test_capsules.py::test_zun_capsules": "capsule-create capsule-list capsule-describe capsule-delete",
}

OPENSTACK = {
    "test_openstack.py::test_run_wait_show_exec_logs_stop_delete": (
        "run", "show", "exec", "logs", "stats", "stop", "delete", "list",
    ),
    "test_openstack.py::test_create_set_and_forced_delete": ("create", "set", "start", "action list"),
    "test_openstack.py::test_lists": ("availability zone list", "host list"),
    "test_openstack.py::test_pause_restart_rebuild_and_kill": (
        "pause", "unpause", "restart", "rebuild", "kill", "action show",
    ),
    "test_openstack.py::test_security_groups_of_the_versions_that_have_them": (
        "add security group", "remove security group",
    ),
    "test_openstack.py::test_the_steps_of_tempest_for_commit": ("commit", "image search"),
    "test_consoles.py::test_zuns_clients_attach": ("attach",),
    "test_copying.py::test_cp_both_ways": ("cp",),
    "test_images.py::test_openstack_images": ("image pull", "image list", "image show", "image delete"),
    "test_networks.py::test_networks_are_attached_listed_and_detached": ("network attach", "network detach"),
    "test_registries_quotas.py::test_openstack_registries": (
        "registry create", "registry list", "registry show", "registry update", "registry delete",
    ),
    "test_registries_quotas.py::test_openstack_quotas": (
        "quota get", "quota update", "quota delete", "quota default", "quota class get", "quota class update",
    ),
    "test_services.py::test_openstack_hosts_and_services": (
        "host show", "service disable", "service enable", "service forcedown",
    ),
    "test_services.py::listed": ("service list",),
    "test_services.py::delete": ("service delete",),
}  # fmt: skip

OPENSTACK_CAPSULES = {
    "test_capsules.py::test_openstack_capsules": (
        "capsule create", "capsule list", "capsule show", "capsule delete",
    ),
}  # fmt: skip

# Commands that the clients break, with the test that shows how, and that the server's half is right.
BROKEN_ZUN = {
    "top": "test_broken_commands.py::test_top",  # print of Python 2
    "rename": "test_broken_commands.py::test_rename",  # asks at 1.40 for what ended at 1.13
}
BROKEN_OPENSTACK = {
    "top": "test_broken_commands.py::test_top",  # print of Python 2
    "network list": "test_broken_commands.py::test_network_list",  # a formatter of an older osc-lib
}

# Floating addresses: the command asks Neutron alone, never the server of the Container API.
NEUTRON = {"add floating ip", "remove floating ip"}
ABOUT_ITSELF = {"help", "bash-completion"}


# The tests of zun-tempest-plugin, by the beginning of their ids. One there is two tests.
TEMPEST = (
    "b8946b8c b3e307d4 0dd13c28 cef53a56 ef69c9e7 a2152d78 c32f93e3 8fc7fec1 cfa24356 f181eeda f55dbe0d 2bc86759 "
    "956e9944 7a947d75 df7b2518 e49231b2 8a4395ff 0c8afb23 c3f02fa0 985c9060 3fa024ef b5f39756 6179a588 c2e54321 "
    "a0c8843f 8a591ff8 a912ca23 d383f359 b218bea7 142b7716 09638306 dcb0dddb 037d800c 4ea3a2a5 91d8bf98 a04f61f2 "
    "d5c91423 b7e79a0b 8bb22511 3534116a"
)


def covered(table: Mapping[str, str | tuple[str, ...]]) -> list[tuple[str, str]]:
    """Each command of a table with its test."""
    return [
        (command, test)
        for test, commands in table.items()
        for command in (commands.split() if isinstance(commands, str) else commands)
    ]


@cache
def functions(file: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse((HERE / file).read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("command", "test"),
    [*covered(ZUN), *covered(OPENSTACK), *covered(OPENSTACK_CAPSULES), *BROKEN_ZUN.items(), *BROKEN_OPENSTACK.items()],
)
def test_the_test_of_a_command_has_its_words(command: str, test: str) -> None:
    file, _, name = test.partition("::")
    body = functions(file)[name]
    texts = {node.value for node in ast.walk(body) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert set(command.split()) <= texts


def test_every_command_of_zun_is_run_or_said_not_to_be() -> None:
    printed = run(CLIENTS / "zun", "help", environment={"COLUMNS": "100"}).stdout
    subcommands = printed.partition("Positional arguments:")[2].partition("Options:")[0]
    offered = set(re.findall(r"^    ([a-z][a-z-]+)", subcommands, re.MULTILINE))
    known = {command for command, _ in covered(ZUN)} | {*BROKEN_ZUN} | ABOUT_ITSELF
    assert offered == known


def test_every_command_of_openstack_is_run_or_said_not_to_be() -> None:
    words = ("command", "list", "--group", "openstack.container.v1", "-f", "value", "-c", "Commands")
    printed = run(CLIENTS / "openstack", *words, environment={"PATH": "/usr/bin:/bin"}).stdout
    offered = set(ast.literal_eval(printed.strip()))
    known = {command for command, _ in covered(OPENSTACK)} | {*BROKEN_OPENSTACK} | NEUTRON
    capsules = {command for command, _ in covered(OPENSTACK_CAPSULES)}
    assert offered == {f"appcontainer {command}" for command in known} | capsules


def test_every_test_of_tempest_is_retold() -> None:
    told = [
        ast.get_docstring(node) or ""
        for file in HERE.glob("test_tempest*.py")
        for node in functions(file.name).values()
    ]
    assert set(TEMPEST.split()) == {id for text in told for id in re.findall(r"([0-9a-f]{8})-[0-9a-f]{4}-", text)}
