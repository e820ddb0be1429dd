"""Images that a project made of its containers: an extension of the API, but for making them (`Containers.commit`)."""

import time
from collections.abc import Callable, Iterator
from typing import cast

from krater.client.answers import OwnImage, Push
from krater.client.errors import NotFound, NotSettled
from krater.client.session import Session, segment

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5


class OwnImages:
    """The project's images. One is named by its id or its name."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[OwnImage]:
        """All of them, oldest first."""
        return list(self._session.pages("/v1/own_images", "images"))

    def show(self, image: str) -> OwnImage:
        """One, by id or name (the newest of that name that is ready)."""
        return cast(OwnImage, self._session.get(self._path(image)))

    def delete(self, image: str) -> None:
        """Forget one. Containers that were made of it go on."""
        self._session.ask("DELETE", self._path(image))

    def wait(self, image: str, *, timeout: float = 600.0, sleep: Callable[[float], None] = time.sleep) -> OwnImage:
        """Wait until one is made. NotFound when it could not be; NotSettled after `timeout` seconds."""
        end, pause = time.monotonic() + timeout, FIRST_PAUSE
        while True:
            found = self.show(image)
            if found["status"] != "saving":
                return found
            if time.monotonic() > end:
                raise NotSettled(f"Image {found['name']} is not made after {timeout:g} seconds.")
            sleep(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE)

    def archive(self, image: str) -> Iterator[tuple[bytes, int]]:
        """An OCI archive of it (for `docker load` too), a piece at a time, each with the length of the whole."""
        path, done, total = self._path(image) + "/archive", 0, 1
        while done < total:
            piece, total = self._session.piece(path, done)
            done += len(piece)
            yield piece, total

    def push(self, image: str, reference: str, *, registry: str = "", username: str = "", password: str = "") -> Push:
        """Begin to upload it to a registry under the name `reference`; `pushed` tells how it goes on.

        The login is that of `registry` (its id or name), or the one that is given here.
        """
        login = {"registry": registry} if registry else {"username": username, "password": password}
        body = {"reference": reference, **login}
        return cast(Push, self._session.post(self._path(image) + "/push", body=body))

    def pushed(self, image: str, push: str) -> Push:
        """How far an upload is. One in the state `unknown` was interrupted: begin it again."""
        return cast(Push, self._session.get(f"{self._path(image)}/push/{segment(push)}"))

    def _path(self, image: str) -> str:
        """Where one is. A name with slashes in it is no part of a path: it is looked up first."""
        if "/" in image:
            found = self._session.get("/v1/own_images", {"name": image})["images"]
            if not found:
                raise NotFound(f"Image {image} could not be found.", status=404)
            image = found[0]["uuid"]
        return "/v1/own_images/" + segment(image)
