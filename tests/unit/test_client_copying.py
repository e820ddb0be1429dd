"""What `krater cp` does with archives on this machine: nothing outside the destination, whatever came."""

import io
import os
import stat
import tarfile
from contextlib import suppress
from pathlib import Path

import click
import pytest

from krater.cli.copy import Place, _destination, place
from krater.client import BadArchive
from krater.client.archives import FileStat
from krater.client.packing import Choices, packed
from krater.client.unpacking import unpack
from tests.support.archives import MOMENT, archive_of, hostile, member, opened

DIRECTORY = 1 << 31


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    made = tmp_path / "dest"
    made.mkdir()
    return made


def taken(data: bytes, dest: Path, name: str | None = "top", **more: bool) -> None:
    unpack(io.BytesIO(data), str(dest), name, **more)


def tree(path: Path) -> dict[str, str]:
    """All there is below a directory; files with their content."""
    found = {}
    for one in sorted(path.rglob("*")):
        is_file = one.is_file() and not one.is_symlink()
        found[str(one.relative_to(path))] = one.read_text() if is_file else ""
    return found


def test_modes_and_times_are_kept(dest: Path) -> None:
    data = archive_of(
        member("a", tarfile.DIRTYPE, mode=0o750),
        member("a/f", content=b"x", mode=0o640),
        member("a/l", tarfile.SYMTYPE, linkname="f"),
        member("a/h", tarfile.LNKTYPE, linkname="a/f"),
        member("a/e", tarfile.DIRTYPE, mode=0o700),
    )
    taken(data, dest)
    assert tree(dest) == {"top": "", "top/f": "x", "top/l": "", "top/h": "x", "top/e": ""}
    for name, mode in (("top", 0o750), ("top/f", 0o640), ("top/e", 0o700)):
        found = (dest / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (mode, MOMENT), name
    assert os.path.samefile(dest / "top/f", dest / "top/h")
    assert os.readlink(dest / "top/l") == "f"


def test_programs_that_run_as_their_owner_do_not_here(dest: Path) -> None:
    taken(archive_of(member("a", content=b"x", mode=0o6755)), dest)
    assert stat.S_IMODE((dest / "top").stat().st_mode) == 0o755


@pytest.mark.parametrize("what", [name for name in hostile() if name not in ("huge", "enormous")])
def test_hostile_archives_write_nothing_outside(tmp_path: Path, dest: Path, what: str) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "passwd").write_text("kept")
    data = hostile()[what][0].replace(b"/etc\0", b"/tmp\0")
    with suppress(BadArchive, OSError):
        taken(data, dest)
    assert tree(beside) == {"passwd": "kept"}
    assert {path.name for path in tmp_path.iterdir()} == {"dest", "beside"}
    assert not list(dest.rglob("*.part"))


@pytest.mark.parametrize(
    ("link", "name"), [("{beside}", "top/l/evil"), ("../../beside", "top/l/evil"), ("..", "top/l/evil")]
)
def test_nothing_is_written_through_a_link(tmp_path: Path, dest: Path, link: str, name: str) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    target = link.format(beside=beside)
    data = archive_of(
        member("top", tarfile.DIRTYPE), member("top/l", tarfile.SYMTYPE, linkname=target), member(name, content=b"x")
    )
    with pytest.raises(BadArchive):
        taken(data, dest)
    assert tree(beside) == {}
    assert not list(tmp_path.rglob("evil"))


def test_a_link_that_was_there_is_replaced_and_not_written_through(tmp_path: Path, dest: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (dest / "top").symlink_to(victim)
    taken(archive_of(member("f", content=b"new")), dest)
    assert victim.read_text() == "kept"
    assert (dest / "top").read_text() == "new"
    (dest / "d").symlink_to(tmp_path)
    with pytest.raises(BadArchive):
        taken(archive_of(member("d", tarfile.DIRTYPE), member("d/victim", content=b"evil")), dest, "d")
    assert victim.read_text() == "kept"


def test_the_top_is_called_what_was_asked_for(dest: Path) -> None:
    """Whatever the container calls it."""
    taken(archive_of(member("elsewhere", content=b"1")), dest, "mine")
    assert tree(dest) == {"mine": "1"}


def test_what_is_in_a_directory_goes_into_another(dest: Path) -> None:
    taken(archive_of(member("d", tarfile.DIRTYPE), member("d/f", content=b"1")), dest, None)
    assert tree(dest) == {"f": "1"}
    root = archive_of(member(".", tarfile.DIRTYPE), member("./g", content=b"2"))
    taken(root, dest, None, has_top=False)
    assert tree(dest) == {"f": "1", "g": "2"}
    taken(root, dest, "all", has_top=False)
    assert (dest / "all/g").read_text() == "2"


def test_what_is_packed_can_be_unpacked(tmp_path: Path, dest: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep/er/big").write_bytes(b"x" * 700_001)
    (source / "deep/link").symlink_to("er/big")
    os.link(source / "deep/er/big", source / "second")
    (source / "odd\udcff name").write_text("odd")
    os.utime(source / "deep/er/big", (MOMENT, MOMENT))
    (source / "deep").chmod(0o710)
    os.mkfifo(source / "pipe")
    data = b"".join(packed(str(source), "s", Choices()))
    found = opened(data)
    assert {one.uid for one, _ in found.values()} == {0}
    assert "s/pipe" not in found
    taken(data, dest, "s")
    assert (dest / "s/deep/er/big").stat().st_mtime == MOMENT
    assert stat.S_IMODE((dest / "s/deep").stat().st_mode) == 0o710
    assert os.path.samefile(dest / "s/second", dest / "s/deep/er/big")
    assert (dest / "s/odd\udcff name").read_text() == "odd"


def test_a_link_at_the_top_is_copied_or_followed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to("f")
    path = str(tmp_path / "l")
    assert opened(b"".join(packed(path, "l", Choices())))["l"][0].issym()
    assert opened(b"".join(packed(path, "l", Choices(follow=True))))["l"][1] == b"x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("box:/tmp", Place("box", "/tmp")),
        ("box:relative", Place("box", "relative")),
        ("box:a:b", Place("box", "a:b")),
        ("/a:b", Place("", "/a:b")),
        ("./a:b", Place("", "./a:b")),
        ("plain", Place("", "plain")),
        (":x", Place("", ":x")),
        ("-", Place("", "-")),
    ],
)
def test_which_side_is_the_container(text: str, expected: Place) -> None:
    assert place(text) == expected


@pytest.mark.parametrize("text", ["", "box:"])
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError):
        place(text)


FILE, TREE, ROOT = FileStat("f", 1, 0o644, ""), FileStat("d", 1, DIRECTORY, ""), FileStat("/", 1, DIRECTORY, "")


@pytest.mark.parametrize(
    ("path", "what", "src", "directory", "name"),
    [
        ("there", FILE, "/x/f", "there", "f"),
        ("there/", FILE, "/x/f", "there/", "f"),
        ("new", FILE, "/x/f", ".", "new"),
        ("there/new", FILE, "/x/f", "there", "new"),
        ("file", FILE, "/x/f", ".", "file"),
        ("there", TREE, "/x/d", "there", "d"),
        ("there", TREE, "/x/d/.", "there", None),
        ("new", TREE, "/x/d", ".", "new"),
        ("new/", TREE, "/x/d", ".", "new"),
        ("new", TREE, "/x/d/.", ".", "new"),
        ("there", ROOT, "/", "there", None),
        ("new", ROOT, "/", ".", "new"),
    ],
)
def test_where_it_goes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    what: FileStat,
    src: str,
    directory: str,
    name: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    assert _destination(path, what, Place("box", src)) == (directory, name)


@pytest.mark.parametrize(("path", "what"), [("new/", FILE), ("no/new", FILE), ("file", TREE), ("file/", FILE)])
def test_where_it_cannot_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, what: FileStat) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(click.ClickException):
        _destination(path, what, Place("box", "/x"))
