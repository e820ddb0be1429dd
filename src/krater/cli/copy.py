"""`krater cp`: the rules for what is called what are those of `docker cp`."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import click

from krater.cli.connection import pass_client
from krater.cli.progress import Progress
from krater.cli.words import size
from krater.client import Client, NotFound
from krater.client.archives import FileStat
from krater.client.packing import Choices, packed
from krater.client.unpacking import Source, unpack

_CHUNK = 256 * 1024
_SAY_EVERY = 0.1
_NO_NAMES = ("/", ".", "..")


class Place(NamedTuple):
    """One side of a copy; `container` is empty for this machine, `path` is `-` for a tar archive on stdin or stdout."""

    container: str
    path: str

    @property
    def is_stream(self) -> bool:
        """Whether it is stdin or stdout."""
        return not self.container and self.path == "-"

    @property
    def wants_content(self) -> bool:
        """Whether what is in a directory is meant, not the directory itself."""
        return self.path == "." or self.path.endswith("/.")


def place(text: str) -> Place:
    """`container:path`, or a path of this machine; one with a colon in it is written `./a:b`."""
    if not text:
        raise click.UsageError("An empty path means nothing.")
    container, colon, path = text.partition(":")
    if not colon or not container or text[0] in "/.":
        return Place("", text)
    if not path:
        raise click.UsageError(f"{text} names no path in the container; `{text}/` is all of it.")
    return Place(container, path)


@click.command()
@click.option("-a", "--archive", is_flag=True, help="Keep owners too (else: root's in the container, yours here).")
@click.option("-L", "--follow-link", is_flag=True, help="Copy what SRC links to, not the link.")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DEST")
@pass_client
def cp(client: Client, archive: bool, follow_link: bool, source: str, destination: str) -> None:
    """Copy files between a container, running or not, and this machine. One side is CONTAINER:PATH.

    A directory is copied with all that is in it: into DEST if that is a directory, else as DEST. `SRC/.` is what is in
    a directory. `-` on the other side is a tar archive on stdin or stdout. Modes and times are kept.
    """
    src, dest = place(source), place(destination)
    if bool(src.container) == bool(dest.container):
        raise click.UsageError("One of SRC and DEST must be CONTAINER:PATH, and not both.")
    inside = client.containers.find(src.container or dest.container)["uuid"]
    with Progress() as progress:
        meter = _Meter(progress)
        if src.container:
            _out(client, Place(inside, src.path), dest, meter, archive=archive, follow=follow_link)
        elif src.is_stream:
            client.archives.put(inside, dest.path, meter.counting(_stdin()))
        else:
            _into(client, src, Place(inside, dest.path), meter, Choices(follow_link, archive))


class _Meter:
    """Counts what goes by, and tells of it now and then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bytes = 0
        self._said = time.monotonic()

    def count(self, data: bytes) -> bytes:
        """Another piece."""
        self._bytes += len(data)
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            self._progress.say(f"copied {size(str(self._bytes))}")
        return data

    def counting(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces."""
        for piece in pieces:
            yield self.count(piece)


class _Counted:
    """An archive that is counted as it is read."""

    def __init__(self, source: Source, meter: _Meter) -> None:
        self._source, self._meter = source, meter

    def read(self, most: int) -> bytes:
        return self._meter.count(self._source.read(most))


def _stdin() -> Iterator[bytes]:
    if sys.stdin.isatty():
        raise click.UsageError("`-` reads a tar archive from stdin, which is a terminal.")
    while piece := os.read(sys.stdin.fileno(), _CHUNK):
        yield piece


def _out(client: Client, src: Place, dest: Place, meter: _Meter, *, archive: bool, follow: bool) -> None:
    """From the container to this machine."""
    path = _followed(client, src) if follow else src.path
    with client.archives.get(src.container, path) as files:
        source = _Counted(files, meter)
        if dest.is_stream:
            if sys.stdout.isatty():
                raise click.UsageError("`-` writes a tar archive to stdout, which is a terminal.")
            while piece := source.read(_CHUNK):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        directory, name = _destination(dest.path, files.stat, src)
        try:
            unpack(source, directory, name, has_top=files.stat.name not in _NO_NAMES, owners=archive)
        except OSError as error:
            raise click.ClickException(f"{error.filename or dest.path}: {error.strerror}.") from error


def _followed(client: Client, src: Place) -> str:
    """Where a link at the end of a path leads; the container's own links decide, and only the last one is asked."""
    found = client.archives.stat(src.container, src.path)
    if not found.is_link:
        return src.path
    return os.path.join(os.path.dirname(src.path.rstrip("/")), found.link_target)


def _destination(path: str, stat: FileStat, src: Place) -> tuple[str, str | None]:
    """The existing directory to unpack in, and what the top of the archive is called there; None for nothing."""
    content_only = stat.is_directory and (src.wants_content or stat.name in _NO_NAMES)
    if os.path.isdir(path):
        return path, None if content_only else os.path.basename(stat.name)
    if os.path.lexists(path):
        if stat.is_directory:
            raise click.ClickException(f"{src.path} is a directory, but {path} is not.")
        if path.endswith("/"):
            raise click.ClickException(f"{path} is not a directory.")
    elif path.endswith("/") and not stat.is_directory:
        raise click.ClickException(f"There is no directory {path}.")
    above, name = os.path.split(path.rstrip("/"))
    if not os.path.isdir(above or "."):
        raise click.ClickException(f"There is no directory {above}.")
    return above or ".", name


def _into(client: Client, src: Place, dest: Place, meter: _Meter, choices: Choices) -> None:
    """From this machine to the container."""
    try:
        is_directory = os.path.isdir(src.path) and (
            choices.follow or src.path.endswith("/") or src.wants_content or not os.path.islink(src.path)
        )
        os.stat(src.path, follow_symlinks=is_directory or choices.follow)
        target, name = _target(client, src, dest, is_directory)
        client.archives.put(dest.container, target, meter.counting(packed(src.path, name, choices)))
    except OSError as error:
        raise click.ClickException(f"{error.filename or src.path}: {error.strerror}.") from error


def _target(client: Client, src: Place, dest: Place, is_directory: bool) -> tuple[str, str]:
    """The existing directory of the container to unpack in, and what SRC is called there."""
    there = _stat(client, dest.container, dest.path)
    if there is not None and (there.is_directory or there.is_link):
        inside = _stat(client, dest.container, dest.path.rstrip("/") + "/")
        if inside is not None:
            content_only = is_directory and src.wants_content
            return dest.path, "." if content_only else os.path.basename(os.path.abspath(src.path))
    if there is not None and is_directory:
        raise click.ClickException(f"{src.path} is a directory, but {dest.path} in the container is not.")
    if there is None and dest.path.endswith("/") and not is_directory:
        raise click.ClickException(f"There is no directory {dest.path} in the container.")
    above, _, name = dest.path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise click.ClickException(f"There is no directory {dest.path} in the container.")
    return above or "/", name


def _stat(client: Client, container: str, path: str) -> FileStat | None:
    try:
        return client.archives.stat(container, path)
    except NotFound:
        return None
