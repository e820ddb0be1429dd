"""What tenants store must not pile up in this process, whatever its size."""

import gc
import tracemalloc
from typing import Any

from tests.support.api import World

PART = 60_000
LARGE = 4 * PART
ROUNDS = 20


def filled() -> dict[str, Any]:
    """As much as a container can carry about, or nearly."""
    filler = "x" * PART
    return {
        "environment": {"FILLER": filler}, "labels": {"filler": filler}, "command": [filler], "entrypoint": [filler]
    }  # fmt: skip


async def test_large_containers_are_not_remembered_after_they_were_shown(world: World) -> None:
    tracemalloc.start()
    try:
        for number in range(ROUNDS):
            made = await world.make(**filled(), name=f"large-{number}", cpu=0.1)
            url = f"/v1/containers/{made['uuid']}"
            assert (await world.call("GET", url)).status_code == 200
            assert (await world.call("GET", f"/v1/containers?name=large-{number}")).status_code == 200
            del made
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < LARGE * ROUNDS / 2
    finally:
        tracemalloc.stop()


async def test_containers_of_usual_size_are_remembered(world: World) -> None:
    made = await world.make()

    async def look() -> object:
        return await world.store.read(lambda tx: tx.workloads.by_ids([made["uuid"]])[0])

    assert await look() is await look()
