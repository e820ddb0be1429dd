"""Rebuilding with images that projects made."""

from tests.api.test_own_images import ready
from tests.support.api import World


async def test_rebuilding_with_an_own_image_and_back(world: World) -> None:
    uuid, id = await ready(world), await world.into("Stopped")
    assert (await world.call("POST", f"/v1/containers/{id}/rebuild?image=myrepo")).status_code == 202
    spec = (await world.stored(id)).spec.containers[0]
    assert (spec.image, spec.node_image) == ("myrepo", f"krater.local/p-kitchen/{uuid}:latest")
    await world.settle(id)
    await world.call("POST", f"/v1/containers/{id}/rebuild")
    assert (await world.stored(id)).spec.containers[0].stored_image is not None
    await world.settle(id)
    await world.call("POST", f"/v1/containers/{id}/rebuild?image=busybox")
    assert (await world.stored(id)).spec.containers[0].node_image == "busybox"


async def test_an_administrator_rebuilds_with_images_of_the_containers_project(world: World) -> None:
    uuid, id = await ready(world), await world.into("Stopped")
    await ready(world, "secret", who="admin")
    path = f"/v1/containers/{id}/rebuild"
    refused = await world.call("POST", f"{path}?image=secret&image_driver=glance", who="admin")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "container.image-not-found")
    assert (await world.call("POST", f"{path}?image=myrepo", who="admin")).status_code == 202
    spec = (await world.stored(id)).spec.containers[0]
    assert spec.node_image == f"krater.local/p-kitchen/{uuid}:latest"
    await world.settle(id)
    assert (await world.call("POST", f"{path}?image=secret", who="admin")).status_code == 202
    assert (await world.stored(id)).spec.containers[0].node_image == "secret"
