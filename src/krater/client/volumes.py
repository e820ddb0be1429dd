"""Volumes of the embedded profile: an extension of the API."""

import time
from collections.abc import Callable
from typing import cast

from krater.client.answers import Volume
from krater.client.errors import NotSettled
from krater.client.session import Session, segment
from krater.client.watching import last_of, never, watched


class Volumes:
    """The volumes of a project. Containers mount them: `mounts=[{"source": "data", "destination": "/data"}]`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Volume]:
        """All of them, oldest first; those that containers brought with them, too."""
        return cast("list[Volume]", self._session.get("/v1/volumes")["volumes"])

    def show(self, volume: str) -> Volume:
        """One, by id or name."""
        return cast(Volume, self._session.get(_path(volume)))

    def create(self, name: str, size: int) -> Volume:
        """A new one of `size` GiB."""
        return cast(Volume, self._session.post("/v1/volumes", body={"name": name, "size": size}))

    def resize(self, volume: str, size: int) -> Volume:
        """Make one larger that no container uses."""
        return cast(Volume, self._session.ask("PATCH", _path(volume), body={"size": size}))

    def delete(self, volume: str) -> None:
        """Remove one that no container uses, and its data. Answers at once; see `wait_gone`."""
        self._session.ask("DELETE", _path(volume))

    def wait_gone(self, id: str, timeout: float = 60.0, sleep: Callable[[float], None] = time.sleep) -> None:
        """Until a removed volume (by id) is gone. NotSettled when that takes longer."""
        last = last_of(watched(lambda: self.show(id), sleep), never, timeout)
        if last is not None:
            why = f": {last['status_reason']}" if last["status_reason"] else ""
            raise NotSettled(f"The volume {id} is not gone yet{why}.")


def _path(volume: str) -> str:
    return "/v1/volumes/" + segment(volume)
