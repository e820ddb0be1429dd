"""What is stored as JSON text, and the cache of what was read.

A `Document` turns a model dataclass into text and back; fields that a later version adds take their defaults.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from krater.model.assignment import Observed, Placement
from krater.model.node import Inventory
from krater.model.workload import Intent, WorkloadSpec
from krater.store.interfaces import Workload

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder()


class Document(Generic[T]):
    """One dataclass as JSON text."""

    def __init__(self, shape: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(shape)

    def encode(self, value: T) -> str:
        """As it is stored."""
        return _ENCODER.encode(value).decode()

    def decode(self, text: str) -> T:
        """As it was."""
        return self._decoder.decode(text)


SPEC = Document(WorkloadSpec)
INTENT = Document(Intent)
PLACEMENT = Document(Placement)
OBSERVED = Document(Observed)
INVENTORY = Document(Inventory)


class DecodeCache:
    """Workloads that were read and decoded, by `seq`, each good for one `version` only.

    Filled by read transactions alone: what a write transaction sees of its own may yet be rolled back, and another
    one then gives the same version to something else. A `seq` is never given twice.

    Two dictionaries instead of a list of uses: what is asked for stays in the recent one; when that is full it
    becomes the older one, and what nobody asked for since goes. No lock: a lost race only costs one more decoding.
    """

    def __init__(self, size: int = 8192) -> None:
        self._half = max(1, size // 2)
        self._recent: dict[int, Workload] = {}
        self._older: dict[int, Workload] = {}

    def find(self, seq: int, version: int) -> Workload | None:
        """The workload of this version, if it is here."""
        found = self._recent.get(seq)
        if found is None:
            found = self._older.get(seq)
            if found is None or found.version != version:
                return None
            self.add(found)
            return found
        return found if found.version == version else None

    def add(self, workload: Workload) -> None:
        """Remember one, as a read transaction found it."""
        recent = self._recent
        if len(recent) >= self._half and workload.seq not in recent:
            self._older, self._recent = recent, {}
            recent = self._recent
        recent[workload.seq] = workload

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def seqs(self) -> Sequence[int]:
        """What is here, for tests."""
        return [*self._recent, *self._older]
