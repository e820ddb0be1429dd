"""Slowing down those who guess passwords.

Three counts of failures, each for what it can do without harm:

    of a user from one peer    the real guard: doubles up to half a minute; touches only that peer's tries
    of a peer, over all users  for who tries many users; gentle, since many people may share one address
    of a user, over all peers  never refuses, only delays: nobody can lock somebody else out

A try is counted as failed when it begins and taken back when it succeeds; so a thousand tries at once count a thousand.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

from krater.errors import Unauthenticated

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slope:
    """After `free` failures each further one doubles the delay, from `first` to `most` seconds."""

    free: int
    first: float
    most: float

    def delay(self, failures: int) -> float:
        """How long to wait after this many."""
        beyond = failures - self.free
        return 0.0 if beyond <= 0 else min(self.most, self.first * 2.0 ** min(beyond - 1, 32))


PAIR = Slope(free=2, first=0.5, most=30.0)
PEER = Slope(free=20, first=0.5, most=5.0)
USER = Slope(free=10, first=0.25, most=2.0)
_FORGET_AFTER = 900.0
_MOST_REMEMBERED = 20_000


@dataclass(slots=True)
class _Count:
    failures: int = 0
    open_at: float = -math.inf
    touched: float = -math.inf


class Attempts:
    """Remembers failures for a quarter of an hour; the memory is bounded, the oldest are forgotten first."""

    def __init__(self, *, most_remembered: int = _MOST_REMEMBERED) -> None:
        self._counts: OrderedDict[Key, _Count] = OrderedDict()
        self._most_remembered = most_remembered

    def begin(self, user: str, peer: str, now: float) -> float:
        """Count a try. Returns seconds to wait before it is looked at. Unauthenticated when it comes too early."""
        pair, from_peer, of_user = self._keys(user, peer)
        wait = max(self._open_at(pair, now), self._open_at(from_peer, now)) - now
        if wait > 0:
            raise Unauthenticated("too many failed log-ins; wait a little", retry_after=wait)
        self._add(pair, PAIR, now)
        self._add(from_peer, PEER, now)
        return USER.delay(self._add(of_user, USER, now))

    def succeed(self, user: str, peer: str) -> None:
        """Take the try back; what this user failed from this peer is forgiven."""
        pair, from_peer, of_user = self._keys(user, peer)
        self._counts.pop(pair, None)
        for key in (from_peer, of_user):
            count = self._counts.get(key)
            if count is not None:
                count.failures = max(0, count.failures - 1)
                count.open_at = -math.inf

    def _keys(self, user: str, peer: str) -> tuple[Key, Key, Key]:
        return ("pair", user, peer), ("peer", peer), ("user", user)

    def _open_at(self, key: Key, now: float) -> float:
        count = self._counts.get(key)
        return count.open_at if count is not None and now - count.touched < _FORGET_AFTER else -math.inf

    def _add(self, key: Key, slope: Slope, now: float) -> int:
        count = self._counts.get(key)
        if count is None or now - count.touched >= _FORGET_AFTER:
            count = self._counts[key] = _Count()
        count.failures += 1
        count.touched = now
        count.open_at = now + slope.delay(count.failures)
        self._counts.move_to_end(key)
        while len(self._counts) > self._most_remembered:
            self._counts.popitem(last=False)
        return count.failures
