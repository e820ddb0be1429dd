"""Changing the key that secrets are encrypted with. May be killed anywhere, and simply be run again."""

from functools import partial

from krater.cloud.local.vault import LocalVault
from krater.store.interfaces import Store, Tx

_AT_ONCE = 100


async def rotate(store: Store, vault: LocalVault) -> int:
    """Encrypt everything with a new key; how many secrets that were.

    The key before stays in the file until the next time: Krater may be running, and just be sealing with it. One that
    was killed in between is carried on, with the key it had made.
    """
    if not vault.is_changing:
        vault.add_key()
    place: int | None = 0
    count = 0
    while place is not None:
        place, done = await store.write(partial(_reseal, vault=vault, after=place))
        count += done
    vault.drop_old_keys()
    return count


def _reseal(tx: Tx, *, vault: LocalVault, after: int) -> tuple[int | None, int]:
    """Some of them; the place of the last and how many, or None at the end."""
    batch = tx.registries.sealed(after, _AT_ONCE)
    for _, id, was in batch:
        tx.registries.reseal(id, was, vault.seal(id, vault.open(id, was)))
    return (batch[-1][0] if batch else None), len(batch)
