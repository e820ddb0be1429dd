"""Tables fit, lose the least important first, and obey nobody who wrote what is in them."""

import pytest

from krater.cli.containers import COLUMNS
from krater.cli.tables import Column, cut, cut_owner, panel, safe, table, width_of
from krater.cli.usage import STATS
from krater.cli.words import mebibytes, size, status_words, took, trouble
from tests.support.fake_api import container

ROWS = [
    container("web", uuid="0123456789abcdef"),
    container(
        "a-very-long-name-of-a-container-that-somebody-generated",
        image="registry.example.org:5000/team/application/frontend:2026.01.31-release",
        status="Error",
        status_detail=None,
        status_reason="The image registry.example.org:5000/team/application/frontend could not be pulled: no such host",
        ports=[80, 443, 8080],
    ),
]


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_a_table_fits_its_terminal(width: int) -> None:
    lines = table(ROWS, COLUMNS, width)
    assert all(width_of(line) <= width for line in lines)
    assert lines[0].startswith("NAME")


def test_narrow_terminals_show_the_most_important() -> None:
    assert table(ROWS, COLUMNS, 40)[0].split() == ["NAME", "IMAGE", "STATUS"]
    assert table(ROWS, COLUMNS, 30)[0].split() == ["NAME", "STATUS"]
    assert table(ROWS, COLUMNS, 80)[0].split() == ["NAME", "IMAGE", "STATUS", "ADDRESSES", "PORTS", "ID"]


def test_short_cells_are_not_cut_for_long_ones() -> None:
    first = table(ROWS, COLUMNS, 80)[1]
    assert first.split("  ")[0] == "web"
    assert "alpine:3.20" in first
    assert "0123456789ab" in first


def test_without_a_terminal_nothing_is_cut() -> None:
    lines = table(ROWS, COLUMNS, None)
    assert ROWS[1]["image"] in lines[2]
    assert ROWS[1]["status_reason"] in lines[2]


def test_an_empty_table_is_its_head() -> None:
    assert table([], COLUMNS, 80) == ["NAME  IMAGE  STATUS  ADDRESSES  PORTS  ID"]


def test_wide_letters_count_for_what_they_take() -> None:
    lines = table(["日本語", "ab"], [Column("A", str), Column("B", lambda _: "x")], 40)
    assert [width_of(line) for line in lines] == [9, 9, 9]
    assert cut("日本語", 4) == "日…"


def test_members_with_long_names_of_capsules_are_told_apart() -> None:
    names = ["a-capsule-with-a-long-name/web", "a-capsule-with-a-long-name/log"]
    rows = [{"name": name, "CPU %": 0, "MEM USAGE(MiB)": 0, "MEM LIMIT(MiB)": 0, "MEM %": 0} for name in names]
    lines = table([row | {"NET I/O(B)": "0/0", "BLOCK I/O(B)": "0/0"} for row in rows], STATS, 40)
    assert [line.split("  ")[0] for line in lines[1:]] == ["a-capsule-wit…/web", "a-capsule-wit…/log"]
    assert [cut_owner(text, 6) for text in ("ab/cdefgh", "abcdefgh", "ab/cd")] == ["ab/cd…", "abcde…", "ab/cd"]


def test_colours_do_not_move_columns() -> None:
    columns = [Column("A", str, color=lambda _: "red"), Column("B", lambda _: "x")]
    assert table(["a"], columns, 40, colored=True)[1] == "\x1b[31ma\x1b[0m  x"


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\rb", "a\x9bb", "a\u202eb", "a\udcffb"])
def test_what_a_terminal_would_obey_is_taken_out(text: str) -> None:
    assert safe(text).startswith("a\N{REPLACEMENT CHARACTER}")


def test_a_panel_wraps_and_leaves_out_what_is_empty() -> None:
    lines = panel([("Name", "web"), ("Nothing", ""), ("Labels", ["a=1", "b=2"]), ("Reason", "word " * 12)], 40)
    assert lines[:3] == ["Name    web", "Labels  a=1", "        b=2"]
    assert all(len(line) <= 40 for line in lines)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Up 5 mins"),
        ({"task_state": "container_stopping"}, "Up 5 mins, stopping"),
        ({"status": "Stopped", "status_detail": "Exited(3) 5 mins ago "}, "Exited(3) 5 mins ago"),
        ({"status": "Creating", "task_state": "image_pulling", "status_detail": None}, "Creating, pulling the image"),
        ({"status": "Creating", "task_state": "container_creating", "status_detail": None}, "Creating"),
        ({"status": "Created", "status_detail": "Created"}, "Created"),
        ({"status": "Error", "status_reason": "no room"}, "Error: no room"),
        ({"status": "Deleting", "task_state": "container_deleting"}, "Deleting, being removed"),
    ],
)
def test_a_status_in_words(changes: dict[str, str], words: str) -> None:
    assert status_words(container(**changes)) == words  # type: ignore[arg-type]


def test_trouble_is_one_sentence() -> None:
    assert trouble(None, "web") == "web is gone."
    error = container(status="Error", status_reason="no such image")
    assert trouble(error, "web") == "web: no such image"  # type: ignore[arg-type]


def test_amounts_are_readable() -> None:
    assert [mebibytes(512), mebibytes(2048), mebibytes(1536)] == ["512M", "2G", "1.5G"]
    assert [mebibytes(0.48), mebibytes(6), mebibytes(0), mebibytes(10.4)] == ["0.5M", "6M", "0M", "10M"]
    assert [size("1234567"), size(None), size("5M"), size(0)] == ["1.23MB", "", "5M", "0B"]
    assert took("2026-01-31T12:00:00", "2026-01-31T12:00:01.250000") == "1.25s"
