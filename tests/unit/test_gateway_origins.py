"""Which pages may open consoles, what keys let go of them, and how frames are written."""

import pytest

from krater.cli.detaching import DetachKeys, read_keys
from krater.client import console
from krater.gateway.origins import is_allowed
from krater.gateway.proxy import whole_letters
from krater.model import frames


@pytest.mark.parametrize(
    ("origin", "host", "base_url", "others", "tls", "allowed"),
    [
        ("http://box:6784", "box:6784", "", (), False, True),
        ("http://box", "box:6784", "", (), False, False),
        ("http://box:None", "box", "ws://box/", (), False, True),
        ("http://box:80", "box", "", (), False, True),
        ("https://box:6784", "box:6784", "", (), False, False),
        ("http://box:6784", "box:6784", "", (), True, False),
        ("https://box:6784", "box:6784", "", (), True, True),
        ("https://box:6784", "box:6784", "wss://box:6784/", (), False, True),
        ("http://box:6784", "box:6784", "wss://box:6784/", (), False, False),
        ("http://evil.example", "box:6784", "", (), False, False),
        ("http://evil.example", "box:6784", "", ("evil.example",), False, True),
        ("http://panel:8080", "box:6784", "", ("panel",), False, False),
        ("http://panel:8080", "box:6784", "", ("panel:8080",), False, True),
        ("http://front", "box:6784", "ws://front/", (), False, True),
        ("null", "box:6784", "", (), False, False),
        ("", "box:6784", "", (), False, False),
        ("http://u@box:6784", "box:6784", "", (), False, False),
        ("http://box:6784/page", "box:6784", "", (), False, False),
        ("http://box:99999", "box:99999", "", (), False, False),
        ("http://[::1]:6784", "[::1]:6784", "", (), False, True),
        ("http://[::1", "[::1", "", (), False, False),
    ],
)
def test_only_pages_of_the_place_itself_and_named_ones(
    origin: str, host: str, base_url: str, others: tuple[str, ...], tls: bool, allowed: bool
) -> None:
    assert is_allowed(origin, host, base_url, others, tls=tls) is allowed


@pytest.mark.parametrize(
    ("content", "whole", "rest"),
    [
        (b"plain", b"plain", b""),
        (b"", b"", b""),
        ("é".encode(), "é".encode(), b""),
        ("é".encode()[:1], b"", "é".encode()[:1]),
        (b"ab" + "€".encode()[:2], b"ab", "€".encode()[:2]),
        ("😀".encode()[:3], b"", "😀".encode()[:3]),
        ("a😀".encode(), "a😀".encode(), b""),
        (b"\x80\x80\x80\x80", b"\x80\x80\x80\x80", b""),
    ],
)
def test_letters_are_not_cut_in_two(content: bytes, whole: bytes, rest: bytes) -> None:
    assert whole_letters(content) == (whole, rest)


@pytest.mark.parametrize(
    ("text", "keys"), [("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-],x", b"\x1dx"), ("", b""), ("Ctrl-A", b"\x01")]
)
def test_keys_are_read(text: str, keys: bytes) -> None:
    assert read_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-pq", "pq", ",", "ctrl-é"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="no key"):
        read_keys(text)


@pytest.mark.parametrize(
    ("typed", "sent", "left"),
    [
        ([b"ls\r"], b"ls\r", False),
        ([b"\x10\x11"], b"", True),
        ([b"a\x10", b"\x11b"], b"a", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10", b"\x10", b"\x11"], b"\x10", True),
        ([b"abc\x10\x11def"], b"abc", True),
    ],
)
def test_keys_are_found_however_they_come(typed: list[bytes], sent: bytes, left: bool) -> None:
    keys = DetachKeys(read_keys("ctrl-p,ctrl-q"))
    out, is_left = b"", False
    for piece in typed:
        content, is_left = keys.feed(piece)
        out += content
    assert (out, is_left) == (sent, left)


def test_client_and_node_mean_the_same_frames() -> None:
    names = ("STDIN", "STDOUT", "STDERR", "STDIN_END", "RESIZE", "EXIT", "REFUSED", "SUBPROTOCOL")
    assert [getattr(console, name) for name in names] == [getattr(frames, name) for name in names]


def test_sizes_that_are_none_are_not_read() -> None:
    assert frames.read_size(frames.size_content(24, 80)) == (24, 80)
    assert frames.read_size(frames.size_content(0, 80)) is None
    assert frames.read_size(b"\0\1") is None
    assert frames.read_size(frames.size_content(10**9, 10**9)) == (65535, 65535)


@pytest.mark.parametrize("head", [b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_frames_nobody_would_send_are_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        frames.length(head)
