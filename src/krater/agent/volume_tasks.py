"""Volumes whose data are to be removed from this node, and which there are."""

import asyncio
from collections.abc import Iterable

import structlog

from krater.agent.executor import reason_of, unexpected
from krater.agent.volumes.interfaces import VolumeHost
from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import SendVolumes

_log = structlog.get_logger(__name__)

_TIMEOUT = 30.0
_PAUSE = 1.0
_LONG = 10.0


class VolumeTasks:
    """Removes what the controller names, and tells it what there is whenever that changed.

    One that is still in use is tried again; only when that takes long is it told as a failure.
    """

    def __init__(self, node: str, bus: Bus, volumes: VolumeHost) -> None:
        self._node = node
        self._bus = bus
        self._volumes = volumes
        self._discards: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._sent: object = None
        self._wake = asyncio.Event()

    def accept(self, discards: Iterable[str]) -> None:
        """All that should go, from a complete answer. What there is, is told again: it may have been lost."""
        now = asyncio.get_running_loop().time()
        self._discards = {volume: self._discards.get(volume, now) for volume in discards}
        self._failures = {volume: why for volume, why in self._failures.items() if volume in self._discards}
        self._sent = None
        self._wake.set()

    def notice(self) -> None:
        """A volume was connected: it may be a new one."""
        self._wake.set()

    async def run(self) -> None:
        """For as long as the agent lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._discard_all()
                await self._tell()
            except Exception as problem:
                _log.warning("volume tasks wait", reason=str(problem), exc_info=unexpected(problem))
                self._try_later()

    async def _discard_all(self) -> None:
        for volume, since in [*self._discards.items()]:
            try:
                await self._volumes.discard(volume)
                self._failures.pop(volume, None)
            except Exception as problem:
                if asyncio.get_running_loop().time() - since >= _LONG:
                    self._failures[volume] = reason_of(problem)
                _log.warning("a volume is not removed yet", volume=volume, reason=str(problem))
                self._try_later()

    async def _tell(self) -> None:
        stored = tuple(sorted(await self._volumes.stored()))
        state = (stored, tuple(sorted(self._failures.items())))
        if state == self._sent or (self._sent is None and not stored and not self._discards):
            return
        await self._bus.call(CONTROLLER, SendVolumes(self._node, *state), _TIMEOUT)
        self._sent = state

    def _try_later(self) -> None:
        asyncio.get_running_loop().call_later(_PAUSE, self._wake.set)
