"""Volumes that users make themselves."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from krater.clock import Now, utc_now
from krater.cloud.interfaces import Caller
from krater.cloud.local.volumes import check_room, check_size
from krater.config import VolumeSettings
from krater.errors import Conflict, Invalid
from krater.model.volume import Volume
from krater.store.interfaces import Scope, Store, Tx


class LocalOwnVolumes:
    """OwnVolumes over Krater's store."""

    def __init__(self, store: Store, settings: VolumeSettings, now: Now = utc_now) -> None:
        self._store = store
        self._settings = settings
        self._now = now

    async def list(self, caller: Caller) -> Sequence[Volume]:
        """The project's."""
        return await self._store.read(lambda tx: tx.volumes.list(Scope(caller.project_id)))

    async def get(self, caller: Caller, ident: str) -> Volume:
        """By id or name."""
        return await self._store.read(lambda tx: tx.volumes.get(Scope(caller.project_id), ident))

    async def create(self, caller: Caller, name: str, size: int) -> Volume:
        """A row; the node that first needs it makes the rest."""
        made = Volume(str(uuid4()), name, caller.project_id, check_size("size", size, self._settings), self._now())

        def add(tx: Tx) -> Volume:
            check_room(tx, self._settings, caller.project_id, [size])
            tx.volumes.add(made)
            return made

        return await self._store.write(add)

    async def resize(self, caller: Caller, ident: str, size: int) -> Volume:
        """Larger, from its next use on."""
        check_size("size", size, self._settings)

        def grow(tx: Tx) -> Volume:
            volume = tx.volumes.get(Scope(caller.project_id), ident)
            if volume.workload or volume.is_removing:
                raise Conflict(f"The volume {volume.name or volume.id} is {volume.status.value}.", code="volume-in-use")
            if size < volume.size:
                raise Invalid(f"size: the volume has {volume.size} GiB, and volumes do not shrink", field="size")
            check_room(tx, self._settings, caller.project_id, [size - volume.size], volumes=0)
            tx.volumes.set_size(volume.id, size)
            return replace(volume, size=size)

        return await self._store.write(grow)

    async def delete(self, caller: Caller, ident: str) -> str | None:
        """Only one that nothing uses. Asking again is asking the same."""
        return await self._store.write(lambda tx: tx.volumes.remove(tx.volumes.get(Scope(caller.project_id), ident).id))
