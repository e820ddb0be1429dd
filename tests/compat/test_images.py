"""Images with the unmodified clients: pulled from a registry, listed, shown, deleted."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.containers import ends_up
from tests.support.images import busybox_layer, configuration, oci_members
from tests.support.registry import Registry, serving_images
from tests.support.server import Server, eventually

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """A registry with the same image under two names."""
    with serving_images() as made:
        layers = [busybox_layer()]
        members = oci_members("busybox", layers, configuration(layers, Cmd=["echo", "pulled"]))
        made.put("zun", "1", members)
        made.put("osc", "1", members)
        yield made


def known(server: Server, repo: str) -> list[Any]:
    return [image for image in server.client().images.list() if image["repo"] == repo]


def is_pulled(server: Server, repo: str) -> bool:
    return [image["tag"] for image in known(server, repo)] == ["1"] and all(i["size"] for i in known(server, repo))


def test_zun_images(server: Server, registry: Registry) -> None:
    [host, *_] = server.client().hosts.list()
    repo = f"{registry.domain}/zun"
    assert repo in server.zun("pull", f"{repo}:1", host["hostname"]).stdout
    eventually(lambda: is_pulled(server, repo), within=60, what="the image pulled")
    [image] = known(server, repo)
    listed = server.zun("image-list").stdout
    assert image["uuid"] in listed
    assert str(image["size"]) in listed
    assert repo in server.zun("image-show", image["uuid"]).stdout
    server.zun("run", "--name", "zun-pulled", f"{repo}:1")
    ends_up(server, "zun-pulled", "Stopped")
    assert server.zun("logs", "zun-pulled").stdout.strip() == "pulled"
    server.zun("image-delete", image["uuid"])
    eventually(lambda: not known(server, repo), what="the image gone")
    missing = server.zun("image-show", image["uuid"], check=False)
    assert "could not be found" in missing.stdout + missing.stderr


def test_openstack_images(server: Server, registry: Registry) -> None:
    def shown(*words: str) -> Any:
        return json.loads(server.openstack("appcontainer", "image", *words, "-f", "json").stdout)

    [host, *_] = server.client().hosts.list()
    repo = f"{registry.domain}/osc"
    asked = shown("pull", f"{repo}:1", host["hostname"])
    assert (asked["repo"], asked["tag"], asked["host"]) == (repo, "1", host["hostname"])
    eventually(lambda: is_pulled(server, repo), within=60, what="the image pulled")
    [entry] = [image for image in shown("list") if image["repo"] == repo]
    assert (entry["uuid"], entry["tag"]) == (asked["uuid"], "1")
    assert shown("show", asked["uuid"])["image_id"] == entry["image_id"]
    server.openstack("appcontainer", "image", "delete", asked["uuid"])
    eventually(lambda: not known(server, repo), what="the image gone")
