"""Tar archives for tests: honest ones, and every kind that is none."""

import io
import tarfile
from typing import Any

from krater.agent.runtimes.interfaces import Engine

MOMENT = 1_000_000_000
BLOCK = 512


def member(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry."""
    made = tarfile.TarInfo(name)
    made.type, made.size, made.mtime = kind, len(content), MOMENT
    made.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


def archive_of(*members: tuple[tarfile.TarInfo, bytes], end: bool = True) -> bytes:
    """An archive of these entries, exactly as they say they are."""
    parts = []
    for made, content in members:
        parts += [made.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), content, bytes(-len(content) % BLOCK)]
    return b"".join(parts) + (bytes(2 * BLOCK) if end else b"")


def files(**contents: str) -> bytes:
    """An archive of small files; `__` in a name is a slash, `_` at its end is nothing."""
    return archive_of(*(member(name.replace("__", "/"), content=text.encode()) for name, text in contents.items()))


def header(**fields: bytes) -> bytes:
    """A header with some of its bytes replaced, and a right checksum: what no library would write."""
    block = bytearray(member("x")[0].tobuf(tarfile.USTAR_FORMAT))
    places = {"name": 0, "mode": 100, "uid": 108, "gid": 116, "size": 124, "mtime": 136, "type": 156, "link": 157}
    for field, value in fields.items():
        block[places[field] : places[field] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    """An extended header."""
    return header(type=kind, size=b"%011o\0" % len(records)) + records + bytes(-len(records) % BLOCK)


def record(key: str, value: bytes) -> bytes:
    """One line of an extended header."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


END = bytes(2 * BLOCK)
Hostile = dict[str, tuple[bytes, str]]


def hostile() -> Hostile:
    """Archives that must be refused, and a word of the reason."""
    return {**_names(), **_links(), **_sizes(), **_sparse(), **_nonsense()}


def _names() -> Hostile:
    return {
        "character device": (archive_of(member("d", tarfile.CHRTYPE, devmajor=1, devminor=1)), "device"),
        "block device": (archive_of(member("d", tarfile.BLKTYPE, devmajor=8)), "device"),
        "absolute name": (archive_of(member("/etc/evil", content=b"x")), "absolute"),
        "dots": (archive_of(member("../evil", content=b"x")), ".."),
        "dots inside": (archive_of(member("a/../../evil", content=b"x")), ".."),
        "dots as a directory": (archive_of(member("..", tarfile.DIRTYPE)), ".."),
        "line feed": (archive_of(member("a\nb", content=b"x")), "line feeds"),
        "NUL": (pax(record("path", b"a\0b")) + header() + END, "NUL"),
        "NUL in a link": (pax(record("linkpath", b"a\0b")) + header(type=b"2") + END, "target"),
        "name too long": (archive_of(member("n" * 300, content=b"x")), "too long"),
        "path too long": (archive_of(member("/".join(["d" * 200] * 30), content=b"x")), "too long"),
        "nested too deeply": (archive_of(member("/".join(["d"] * 1000), content=b"x")), "deep"),
        "no name": (archive_of(member(".", content=b"x")), "not the name"),
    }


def _links() -> Hostile:
    return {
        "absolute hard link": (archive_of(member("l", tarfile.LNKTYPE, linkname="/etc/passwd")), "absolute"),
        "hard link up": (archive_of(member("l", tarfile.LNKTYPE, linkname="../../etc/passwd")), ".."),
        "hard link to nothing": (archive_of(member("l", tarfile.LNKTYPE, linkname="nobody")), "not there"),
        "hard link to the top": (archive_of(member("l", tarfile.LNKTYPE, linkname=".")), "not there"),
        "through an absolute link": (
            archive_of(member("l", tarfile.SYMTYPE, linkname="/etc"), member("l/evil", content=b"x")),
            "links are not followed",
        ),
        "through a link up": (
            archive_of(member("l", tarfile.SYMTYPE, linkname=".."), member("l/evil", content=b"x")),
            "links are not followed",
        ),
        "a directory over a link": (
            archive_of(member("l", tarfile.SYMTYPE, linkname="/etc"), member("l", tarfile.DIRTYPE, mode=0o777)),
            "links are not followed",
        ),
        "hard link through a link": (
            archive_of(
                member("l", tarfile.SYMTYPE, linkname="/etc"), member("h", tarfile.LNKTYPE, linkname="l/passwd")
            ),
            "not there",
        ),
        "link to nothing at all": (archive_of(member("l", tarfile.SYMTYPE, linkname="")), "link"),
    }


def _sizes() -> Hostile:
    return {
        "huge": (header(size=b"77777777777\0") + END, "larger"),
        "enormous": (header(size=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7) + END, "larger"),
        "negative size": (header(size=b"\xff" * 12) + END, "negative"),
        "negative size by pax": (pax(record("size", b"-512")) + header() + END, ""),
        "pax bomb": (header(type=b"x", size=b"%011o\0" % (1 << 30)) + END, "header"),
        "long name bomb": (header(type=b"L", size=b"%011o\0" % (1 << 30)) + END, "header"),
        "global bomb": (
            b"".join(pax(record(f"k{n}", b"v" * 9000), b"g") for n in range(40)) + header() + END,
            "global",
        ),
        "broken pax": (pax(b"99999999999999999999 path=x\n") + header() + END, ""),
        "chain of headers": (b"".join(pax(record("path", b"p")) for _ in range(3000)) + header() + END, "deep"),
    }


def _sparse() -> Hostile:
    return {
        "sparse": (header(type=b"S") + END, "sparse"),
        "sparse by pax": (
            pax(record("GNU.sparse.major", b"1") + record("GNU.sparse.minor", b"0") + record("GNU.sparse.name", b"s"))
            + header(size=b"%011o\0" % BLOCK)
            + b"1\n0\n1099511627776\n".ljust(BLOCK, b"\0")
            + END,
            "sparse",
        ),
        "sparse with a map of its own": (
            pax(
                record("GNU.sparse.size", b"1099511627776")
                + record("GNU.sparse.numblocks", b"1")
                + record("GNU.sparse.map", b"0,1")
            )
            + header()
            + END,
            "sparse",
        ),
    }


def _nonsense() -> Hostile:
    small = archive_of(member("kept", content=b"kept"), end=False)
    return {
        "owner that cannot be": (pax(record("uid", b"-5")) + header() + END, "belongs"),
        "owner beyond all": (pax(record("gid", b"4294967295")) + header() + END, "belongs"),
        "time that cannot be": (pax(record("mtime", b"9e30")) + header() + END, "time"),
        "time that is no number": (pax(record("mtime", b"nan")) + header() + END, "time"),
        "unknown kind": (header(type=b"Z") + END, "kind"),
        "volume label": (header(type=b"V") + END, "kind"),
        "not an archive": (b"this is no archive" * 100, "tar archive"),
        "compressed": (b"\x1f\x8b\x08" + bytes(1000), "tar archive"),
        "empty": (b"", ""),
        "bad checksum": (small + b"garbage" * 100, "damaged"),
        "cut in a header": (small + header()[:300], "damaged"),
        "cut in a file": (small + header(size=b"%011o\0" % 5000) + b"x" * 700, ""),
    }


async def put(engine: Engine, container: str, path: str, data: bytes, limit: int = 1 << 30) -> None:
    """Unpack, in pieces."""
    writer = await engine.unpack(container, path, limit)
    try:
        for at in range(0, len(data), 100_000):
            await writer.write(data[at : at + 100_000])
        await writer.finish()
    finally:
        await writer.close()


async def get(
    engine: Engine, container: str, path: str, limit: int = 1 << 30
) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Pack; the members by name, with their contents."""
    reader = await engine.pack(container, path, limit)
    pieces = []
    try:
        while piece := await reader.read():
            pieces.append(piece)
    finally:
        await reader.close()
    return opened(b"".join(pieces))


def opened(data: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """The members of an archive by name, with their contents."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for one in archive:
            content = archive.extractfile(one) if one.isreg() else None
            found[one.name] = (one, content.read() if content is not None else b"")
    return found
