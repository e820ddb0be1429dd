"""Reading an archive without believing it: what its members may be, and how large what describes them."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self, cast

from krater.agent.runtimes.oci.jail.frames import Abandoned, Incoming, Refused

MOST_MEMBERS: Final = 250_000
LARGEST_EXTENSION: Final = 1 << 20
MOST_GLOBAL: Final = 16
LONGEST_PATH: Final = 4095
LONGEST_NAME: Final = 255
DEEPEST: Final = 500
HIGHEST_ID: Final = 2**32 - 2
LATEST: Final = 2**40
_SHOWN: Final = 100
_EXTENSIONS: Final = frozenset(
    {
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    }
)
_KINDS: Final = {
    tarfile.CHRTYPE: "a device node",
    tarfile.BLKTYPE: "a device node",
    tarfile.GNUTYPE_SPARSE: "a sparse file (make the archive without --sparse)",
}


class Member(tarfile.TarInfo):
    """A header. What the library would take for the end of the archive, or read into memory whole, is refused here."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            found = super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError:
            raise Refused(
                "invalid", "The archive is damaged, or no tar archive (compressed ones are not taken)."
            ) from None
        if found.size < 0:
            raise Refused("invalid", "The archive is damaged: a size is negative.")
        if found.type in _EXTENSIONS and found.size > LARGEST_EXTENSION:
            raise Refused("invalid", f"The archive has a header of {found.size} bytes.")
        return found


def members(source: Incoming, limit: int) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of an archive, checked one by one, with the archive to read their content from."""
    file = cast(Any, source)  # only ever read from
    with _blaming():
        archive = tarfile.open(  # noqa: SIM115 -- there is nothing of its own to close
            None, "r|", file, tarfile.BLOCKSIZE * 128, tarinfo=Member, encoding="utf-8", errors="surrogateescape"
        )
    count = total = 0
    while (member := _next(archive)) is not None:
        archive.members.clear()  # type: ignore[attr-defined]
        count, total = count + 1, total + member.size
        if count > MOST_MEMBERS:
            raise Refused("invalid", f"The archive has more than {MOST_MEMBERS} members.")
        _check(member)
        if total > limit:
            raise Refused("too-large", "What is in the archive is larger than what may be copied at once.")
        if len(archive.pax_headers) > MOST_GLOBAL:
            raise Refused("invalid", "The archive has too many global headers.")
        yield archive, member
    source.drain()


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _blaming():
        return archive.next()


@contextmanager
def _blaming() -> Iterator[None]:
    """Whatever the library stumbles over, the archive is to blame."""
    try:
        yield
    except (Refused, Abandoned, MemoryError, RecursionError):
        raise
    except Exception as error:
        raise Refused("invalid", f"The archive cannot be read: {quoted(str(error))}.") from error


def _check(member: tarfile.TarInfo) -> None:
    shown = quoted(member.name)
    if member.type in _KINDS or member.issparse():
        what = _KINDS.get(member.type, _KINDS[tarfile.GNUTYPE_SPARSE])
        raise Refused("invalid", f"The archive has {shown}, which is {what}.")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk() or member.isfifo()):
        raise Refused("invalid", f"The archive has {shown}, which is no kind of file that is known.")
    if member.size < 0 or (member.size and not member.isreg()):
        raise Refused("invalid", f"The archive says that {shown} has {member.size} bytes.")
    if not (0 <= member.uid <= HIGHEST_ID and 0 <= member.gid <= HIGHEST_ID):
        raise Refused("invalid", f"The archive says that {shown} belongs to a user or group that cannot be.")
    if not -LATEST < member.mtime < LATEST:
        raise Refused("invalid", f"The archive says that {shown} was changed at a time that cannot be.")
    if member.issym() and (not member.linkname or len(member.linkname) > LONGEST_PATH or "\0" in member.linkname):
        raise Refused("invalid", f"The archive has {shown}, a link whose target cannot be.")


def parts_of(name: str, what: str = "") -> list[str]:
    """A member's name (or the target of a hard link) as parts below the directory to unpack in."""
    shown = what or quoted(name)
    if "\0" in name or "\n" in name:
        raise Refused("invalid", f"The archive has {shown}: line feeds and NULs are not taken in names.")
    if name.startswith("/"):
        raise Refused("invalid", f"The archive has {shown}: absolute names are not taken.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused("invalid", f"The archive has {shown}: names with `..` are not taken.")
    if len(name) > LONGEST_PATH or any(len(part.encode("utf-8", "surrogateescape")) > LONGEST_NAME for part in parts):
        raise Refused("invalid", f"The archive has {shown}: it is too long.")
    if len(parts) > DEEPEST:
        raise Refused("invalid", f"The archive has {shown}: it is nested too deeply.")
    return parts


def quoted(name: str) -> str:
    """A name for a message: whatever it is, it is one short line of text."""
    return ascii(name) if len(name) <= _SHOWN else ascii(name[:_SHOWN]) + "…"
