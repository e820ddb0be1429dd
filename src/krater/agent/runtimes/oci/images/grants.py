"""Who may use images that are here because of somebody's login.

All projects share the node's image store. A repository that was ever asked for with a project's login is *guarded*: of
it, a project may use only what a registry has given to it (by digest), or to somebody without a login. That is written
down before the pull begins, so that there is no moment, and no crash, at which such an image is there and not guarded.
What is not guarded was imported by the operator, or is given to everybody.

Files, read anew each time: an operator's command may have the engine open as well as the agent.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

EVERYBODY: Final = "*"
_MOST_DIGESTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Guarded:
    """A guarded repository: to whom which of its digests were given."""

    repository: str
    given: dict[str, tuple[str, ...]] = field(default_factory=dict)


_UNREADABLE: Final = Guarded("")


class Grants:
    """The guarded repositories, below one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def admits(self, repository: str, digest: str, project: str) -> bool:
        """Whether a project may use this image."""
        found = self._read(repository)
        return found is None or not {EVERYBODY, project}.isdisjoint(found.given.get(digest, ()))

    def is_guarded(self, repository: str) -> bool:
        """Whether it may be used only by those it was given to."""
        return self._read(repository) is not None

    def guard(self, repository: str, present: Iterable[str] = ()) -> None:
        """From now on it is. The digests that are `present` were for everybody, and remain so: an image that was
        imported must not be lost to all because one project logged in to a registry of the same name."""
        given: dict[str, tuple[str, ...]] = {digest: (EVERYBODY,) for digest in present}
        self._change(repository, lambda found: found or Guarded(repository, given))
        self.touch(repository)

    def touch(self, repository: str) -> None:
        """Something was done with it: it is not forgotten soon."""
        with suppress(FileNotFoundError):
            os.utime(self._path(repository))

    def give(self, repository: str, digest: str, project: str) -> None:
        """A registry gave an image of it to a project, or (EVERYBODY) to whoever asks. Only told of what is guarded."""

        def add(found: Guarded | None) -> Guarded | None:
            if found is None:
                return None
            given = dict(found.given)
            given[digest] = tuple(sorted({*given.pop(digest, ()), project}))
            dispensable = sorted(given, key=lambda one: EVERYBODY in given[one])  # in order of age otherwise
            for oldest in dispensable[: max(0, len(given) - _MOST_DIGESTS)]:
                del given[oldest]  # will be asked for again
            return Guarded(repository, given)

        self._change(repository, add)

    def keep_only(self, repositories: Set[str], older: float) -> None:
        """Forget those of which there is no image, with which nothing was done for `older` seconds.

        containerd may end a pull that was given up, or whose asker died, a moment later than we think.
        """
        latest = time.time() - older
        with self._alone():
            for path in self._files():
                found = self._load(path)
                if found is not None and found.repository not in repositories and path.stat().st_mtime <= latest:
                    path.unlink(missing_ok=True)

    def _files(self) -> Iterable[Path]:
        return list(self._directory.glob("*.json"))

    def _path(self, repository: str) -> Path:
        return self._directory / f"{hashlib.sha256(repository.encode()).hexdigest()}.json"

    def _read(self, repository: str) -> Guarded | None:
        return self._load(self._path(repository))

    def _load(self, path: Path) -> Guarded | None:
        """None when there is no file. One that cannot be read guards: it gives nothing to anybody."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=Guarded)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, msgspec.MsgspecError):
            return _UNREADABLE

    def _change(self, repository: str, change: Callable[[Guarded | None], Guarded | None]) -> None:
        with self._alone():
            found = self._read(repository)
            changed = change(Guarded(repository) if found is _UNREADABLE else found)
            if changed is not None and changed != found:
                self._write(self._path(repository), msgspec.json.encode(changed))

    def _write(self, path: Path, content: bytes) -> None:
        """On the disk before anything is pulled: a loss of power must not leave the image without its guard."""
        beside = path.with_suffix(".new")
        with open(beside, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with suppress(FileExistsError):
            self._directory.mkdir(parents=True, mode=0o700)
        with open(self._directory / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
