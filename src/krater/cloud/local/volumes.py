"""Volumes from Krater's own store: rows here, files of fixed size on the nodes."""

from collections.abc import Sequence
from uuid import uuid4

from krater.clock import Now, utc_now
from krater.cloud.interfaces import Caller, VolumeAsk
from krater.config import VolumeSettings
from krater.errors import Conflict, Invalid, NotFound, OverQuota
from krater.model.quota import UNLIMITED
from krater.model.volume import Volume, VolumeClaim
from krater.store.interfaces import Scope, Store, Tx


class LocalVolumes:
    """Volumes of the embedded profile. One volume is one node's, and one workload's at a time."""

    def __init__(self, store: Store, settings: VolumeSettings, now: Now = utc_now) -> None:
        self._store = store
        self._settings = settings
        self._now = now

    async def resolve(self, caller: Caller, asks: Sequence[VolumeAsk]) -> tuple[VolumeClaim, ...]:
        """Names to ids, within the caller's project."""
        if not asks:
            return ()
        return await self._store.read(lambda tx: self._resolve(tx, caller, asks))

    def _resolve(self, tx: Tx, caller: Caller, asks: Sequence[VolumeAsk]) -> tuple[VolumeClaim, ...]:
        claims = tuple(self._claim(tx, caller, ask) for ask in asks)
        check_room(tx, self._settings, caller.project_id, [claim.size for claim in claims if claim.size])
        return claims

    def _claim(self, tx: Tx, caller: Caller, ask: VolumeAsk) -> VolumeClaim:
        if ask.source is None:
            return VolumeClaim(str(uuid4()), check_size("mounts", ask.size or 0, self._settings))
        volume = tx.volumes.get(Scope(caller.project_id), ask.source)
        if volume.is_removing:
            raise NotFound(f"There is no volume {ask.source}.", code="volume-not-found")
        if volume.workload:
            raise _in_use(ask.source)
        return VolumeClaim(volume.id)

    def reserve(self, tx: Tx, project: str, workload: str, claims: Sequence[VolumeClaim]) -> None:
        """Hold what is there, and add rows for what is not."""
        new = [claim for claim in claims if claim.size]
        check_room(tx, self._settings, project, [claim.size for claim in new])
        for claim in new:
            tx.volumes.add(
                Volume(claim.volume, "", project, claim.size, self._now(), auto_remove=True, workload=workload)
            )
        for claim in claims:
            if not claim.size:
                self._hold(tx, project, claim.volume, workload)

    def _hold(self, tx: Tx, project: str, volume: str, workload: str) -> None:
        tx.volumes.get(Scope(project), volume)
        try:
            tx.volumes.hold([volume], workload)
        except Conflict:
            raise _in_use(volume) from None

    async def homes(self, workload: str) -> frozenset[str]:
        """Where its volumes are."""
        held = await self._store.read(lambda tx: tx.volumes.held_by([workload]))
        return frozenset(volume.node for volume in held if volume.node is not None)

    async def ensure_attached(self, workload: str, node: str) -> None:
        """Bind to the node what was nowhere yet."""

        def attach(tx: Tx) -> None:
            tx.volumes.place(workload, node)
            for volume in tx.volumes.held_by([workload]):
                if volume.node != node:
                    raise Conflict(f"The volume {volume.name or volume.id} is on another host.")

        await self._store.write(attach)

    async def release(self, workload: str) -> frozenset[str]:
        """Free the user's, have the others removed."""
        return frozenset(await self._store.write(lambda tx: tx.volumes.release(workload)))

    async def list_owned(self) -> set[str]:
        """Workloads that hold something."""
        return await self._store.read(lambda tx: tx.volumes.holders())


def check_size(field: str, size: int, settings: VolumeSettings) -> int:
    """The size, if one volume may have it. Invalid."""
    if 1 <= size <= settings.maximum_size:
        return size
    raise Invalid(
        f"{field}: a volume of {size} GiB is out of range; allowed are 1 to {settings.maximum_size} GiB",
        field=field,
        code="volume-create-failed",
    )


def check_room(
    tx: Tx, settings: VolumeSettings, project: str, sizes: Sequence[int], volumes: int | None = None
) -> None:
    """OverQuota unless the project may have this much more; `volumes` is how many that are, if not one a size."""
    if not sizes:
        return
    more, gigabytes = len(sizes) if volumes is None else volumes, sum(sizes)
    count, used = tx.volumes.use(project)
    for word, have, want, limit in (
        ("volumes", count, more, settings.project_volumes),
        ("GiB of volumes", used, gigabytes, settings.project_gigabytes),
    ):
        if limit != UNLIMITED and want > 0 and have + want > limit:
            raise OverQuota(f"Quota exceeded for {word}: {have} in use, {want} asked for, {limit} allowed")


def _in_use(ident: str) -> Invalid:
    return Invalid(f"mounts: volume {ident} is in use by another container", field="mounts", code="volume-in-use")
