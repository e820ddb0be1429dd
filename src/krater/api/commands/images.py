"""Which images nodes should have."""

from krater.errors import Conflict, Invalid, NotFound
from krater.store.interfaces import Image, Tx


def find(tx: Tx, id: str) -> Image:
    """An image by its id. The Container API answers 400, not 404, when there is none."""
    try:
        return tx.images.get(id)
    except NotFound:
        raise Invalid(f"Image {id[:80]} could not be found.", code="image-not-found") from None


def remove(tx: Tx, id: str) -> Image:
    """Wish it away. Idempotent while it is still there."""
    image = find(tx, id)
    return image if image.removing else tx.images.set_removing(id)


def add(tx: Tx, image: Image) -> Image:
    """Wish for it."""
    try:
        return tx.images.add(image)
    except Conflict as error:
        raise Conflict(error.message, code="image-already-exists") from None
