"""Files of containers: looked at, copied out and in as tar archives, streamed in the memory of a piece."""

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from krater.client.errors import ApiError, BadAnswer
from krater.client.session import Session, segment
from krater.client.transport import StreamedAnswer

STAT_HEADER = "x-krater-archive-stat"
_GO_DIRECTORY, _GO_LINK = 1 << 31, 1 << 27


@dataclass(frozen=True)
class FileStat:
    """A file in a container. `mode` is as Go's os.FileMode has it."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory; a link to one is not."""
        return bool(self.mode & _GO_DIRECTORY)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return bool(self.mode & _GO_LINK)


class PackedFiles:
    """A tar archive as it comes. `read` makes it a file for `tarfile.open(mode="r|")`."""

    def __init__(self, stat: FileStat, answer: StreamedAnswer) -> None:
        self.stat = stat
        self._answer = answer

    def read(self, most: int) -> bytes:
        """Some more of it, at most so many bytes; none at its end."""
        return self._answer.read(most)


class Archives:
    """Files in containers, whether these run or not. A container is named by its id or its name."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def stat(self, container: str, path: str) -> FileStat:
        """What is at a path. A link at its end is not followed, unless the path ends in `/`. NotFound."""
        try:
            with self._session.stream("HEAD", _path(container), {"path": path}) as answer:
                return _stat(answer)
        except ApiError:  # such an answer has no words
            with self.get(container, path) as packed:
                return packed.stat

    @contextmanager
    def get(self, container: str, path: str) -> Iterator[PackedFiles]:
        """A file, or a directory with all that is in it, as a tar archive."""
        with self._session.stream("GET", _path(container), {"path": path}) as answer:
            yield PackedFiles(_stat(answer), answer)

    def put(self, container: str, path: str, pieces: Iterable[bytes]) -> None:
        """Unpack a tar archive, given in pieces, into an existing directory."""
        with self._session.stream("PUT", _path(container), {"path": path}, pieces) as answer:
            answer.read()


def _path(container: str) -> str:
    return f"/v1/containers/{segment(container)}/archive"


def _stat(answer: StreamedAnswer) -> FileStat:
    try:
        found = json.loads(base64.b64decode(answer.headers.get(STAT_HEADER, "")))
        name, size, mode = str(found["name"]), int(found["size"]), int(found["mode"])
        return FileStat(name, size, mode, str(found["mtime"]), str(found["linkTarget"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadAnswer("The server did not say what the archive is of.") from error
