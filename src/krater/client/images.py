"""Images in the stores of the hosts. Administrators only, except where the server's policy says otherwise."""

from typing import cast

from krater.client.answers import FoundImage, Image
from krater.client.session import Session, segment

Found = list[FoundImage]  # `list` is a method below


class Images:
    """Images on hosts: the same image on two hosts is two of these."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Image]:
        """All of them."""
        return list(self._session.pages("/v1/images", "images"))

    def show(self, image: str) -> Image:
        """One, by its uuid. A missing one is InvalidRequest: the API's specification says 400."""
        return cast(Image, self._session.get("/v1/images/" + segment(image)))

    def pull(self, name: str, host: str) -> Image:
        """Have a host pull an image, in the background; the answer names it before it is there."""
        return cast(Image, self._session.post("/v1/images", body={"repo": name, "host": host}))

    def search(self, words: str, *, driver: str | None = None, exact: bool = False) -> Found:
        """Images whose names have these words in them: at Docker Hub, or (`driver` glance) one's own. For everybody."""
        path = "/v1/images/" + "/".join(segment(part) for part in words.split("/") if part) + "/search"
        return cast(Found, self._session.get(path, {"image_driver": driver, "exact_match": exact or None}))

    def delete(self, image: str) -> None:
        """Remove one from its host, in the background."""
        self._session.ask("DELETE", "/v1/images/" + segment(image))
