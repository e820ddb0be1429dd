"""Registries and quotas by the unmodified `openstack` and `zun` clients."""

import json
from typing import Any

import pytest

from tests.support.server import Server

pytestmark = pytest.mark.live


def osc(server: Server, *words: str) -> Any:
    return json.loads(server.openstack("appcontainer", *words, "-f", "json").stdout)


def test_openstack_registries(server: Server) -> None:
    login = ("--username", "me", "--password", "s3cret")
    made = osc(server, "registry", "create", "--domain", "registry.example:5000", "--name", "osc-reg", *login)
    assert (made["domain"], made["username"], made["password"]) == ("registry.example:5000", "me", "***")
    assert osc(server, "registry", "show", "osc-reg")["uuid"] == made["uuid"]
    assert [r["uuid"] for r in osc(server, "registry", "list", "--name", "osc-reg")] == [made["uuid"]]
    changed = osc(server, "registry", "update", "--name", "osc-other", made["uuid"])
    assert changed["name"] == "osc-other"
    server.openstack("appcontainer", "registry", "delete", "osc-other")
    assert osc(server, "registry", "list") == []


def test_zun_registries(server: Server) -> None:
    login = ("--username", "me", "--password", "s3cret")
    made = server.zun("registry-create", "--domain", "registry.example", "--name", "zun-reg", *login).stdout
    assert "registry.example" in made
    assert "s3cret" not in made
    assert "zun-reg" in server.zun("registry-list").stdout
    assert "registry.example" in server.zun("registry-show", "zun-reg").stdout
    assert "zun-other" in server.zun("registry-update", "zun-reg", "--name", "zun-other").stdout
    server.zun("registry-delete", "zun-other")
    assert "zun-other" not in server.zun("registry-list").stdout


def test_openstack_quotas(server: Server) -> None:
    project = json.loads(server.openstack("token", "issue", "-f", "json").stdout)["project_id"]
    before = osc(server, "quota", "get", project)
    assert set(before) == {"containers", "memory", "disk", "cpu"}
    assert osc(server, "quota", "update", project, "--containers", "7")["containers"] == 7
    used = osc(server, "quota", "get", "--usages", project)
    assert "7" in str(used["containers"])
    server.openstack("appcontainer", "quota", "delete", project)
    assert osc(server, "quota", "default", project) == before
    assert set(osc(server, "quota", "class", "get", "default")) == {"containers", "memory", "disk", "cpu"}
    assert osc(server, "quota", "class", "update", "default", "--cpu", "21")["cpu"] == 21
    assert osc(server, "quota", "class", "update", "default", "--cpu", "20")["cpu"] == 20


def test_zun_quotas(server: Server) -> None:
    project = json.loads(server.openstack("token", "issue", "-f", "json").stdout)["project_id"]
    assert "40" in server.zun("quota-get", project).stdout
    assert "9" in server.zun("quota-update", project, "--containers", "9").stdout
    server.zun("quota-delete", project)
    assert "40" in server.zun("quota-defaults", project).stdout
    assert "40" in server.zun("quota-class-get", "default").stdout
    assert "21" in server.zun("quota-class-update", "default", "--cpu", "21").stdout
    assert "20" in server.zun("quota-class-update", "default", "--cpu", "20").stdout
