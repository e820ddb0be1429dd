"""Volumes from Krater's own store: rows here, files of fixed size on the nodes."""

from collections.abc import Collection, Sequence
from uuid import uuid4

from krater.clock import Now, utc_now
from krater.cloud.interfaces import Caller, VolumeAsk
from krater.config import VolumeSettings
from krater.errors import Conflict, Invalid, NotFound, OverQuota
from krater.model.quota import UNLIMITED
from krater.model.volume import Volume, VolumeClaim
from krater.store.interfaces import Scope, Store, Tx

_LONGEST_NAME = 255


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
            return VolumeClaim(str(uuid4()), check_size(ask.place, ask.size or 0, self._settings), ask.name)
        try:
            volume = tx.volumes.get(Scope(caller.project_id), ask.source)
        except (NotFound, Conflict) as error:
            raise type(error)(f"{ask.place}: {error.message}", code=error.code) from None
        if volume.is_removing:
            raise NotFound(f"{ask.place}: There is no volume {ask.source}.", code="volume-not-found")
        if volume.workload:
            raise _in_use(ask.source, ask.place)
        return VolumeClaim(volume.id)

    def reserve(self, tx: Tx, project: str, workload: str, claims: Sequence[VolumeClaim]) -> None:
        """Hold what is there, and add rows for what is not."""
        new = [claim for claim in claims if claim.size]
        check_room(tx, self._settings, project, [claim.size for claim in new])
        taken = {volume.name for volume in tx.volumes.list(Scope(project))} if new else set()
        for claim in new:
            name = _free_name(claim, taken)
            tx.volumes.add(
                Volume(claim.volume, name, project, claim.size, self._now(), auto_remove=not name, workload=workload)
            )
            taken.add(name)
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


def _free_name(claim: VolumeClaim, taken: Collection[str]) -> str:
    """Its name; if another volume has that, with the beginning of its id."""
    if not claim.name or claim.name not in taken:
        return claim.name
    more = f"-{claim.volume[:8]}"
    return f"{claim.name[: _LONGEST_NAME - len(more)]}{more}"


def _in_use(ident: str, place: str = "mounts") -> Invalid:
    return Invalid(f"{place}: volume {ident} is in use by another container", field="mounts", code="volume-in-use")
