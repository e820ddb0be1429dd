"""What a new container mounts: from the request to what is stored with it."""

from collections.abc import Callable

from krater.api.mounts import Mounted, mounted, read_mounts, volume_asks
from krater.api.requests import Request
from krater.api.schemas.containers import CreateBase
from krater.store.interfaces import Tx

_NONE = Mounted()


async def resolve_mounts(request: Request, ask: CreateBase) -> Mounted:
    """Look the volumes up. Nothing is created."""
    if not ask.mounts:
        return _NONE
    asks = read_mounts(ask.mounts, request.backing.settings.volumes.file_limit)
    claims = await request.backing.volumes.resolve(request.caller, volume_asks(asks))
    return mounted(asks, claims)


def holding(request: Request, workload: str, what: Mounted) -> Callable[[Tx], None] | None:
    """For the transaction that stores the workload: its volumes and files become its own with it, or not at all."""
    if not what.mounts:
        return None
    volumes, project = request.backing.volumes, request.caller.project_id

    def hold(tx: Tx) -> None:
        volumes.reserve(tx, project, workload, what.claims)
        tx.volumes.add_files(workload, what.files)

    return hold
