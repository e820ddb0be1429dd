"""Messages to the kernel and from it, byte by byte."""

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.agent.vif import links
from krater.agent.vif.native import translated
from krater.agent.vif.netlink import NetlinkError, attribute, attributes, nest, number, text
from krater.errors import Permanent, Temporary


@given(st.dictionaries(st.integers(1, 100), st.binary(max_size=40), max_size=8))
def test_attributes_are_read_as_they_were_written(values: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, value) for kind, value in values.items())) == values


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_a_fault(payload: bytes) -> None:
    attributes(payload)


def test_a_nest_is_marked_and_its_mark_is_not_read_as_its_number() -> None:
    outer = nest(18, text(1, "veth"), number(2, 7))
    assert struct.unpack_from("=HH", outer)[1] == 18 | 0x8000
    assert attributes(attributes(outer)[18]) == {1: b"veth\0", 2: b"\7\0\0\0"}


def test_a_link_is_read() -> None:
    body = struct.pack("=BxHiII", 0, 1, 7, 1, 0)
    body += text(3, "eth0") + text(20, "krater:a:b:c") + attribute(1, bytes.fromhex("02aabbccddee"))
    body += number(4, 1400) + number(5, 3) + number(10, 9) + attribute(16, b"\6") + nest(18, text(1, "veth"))
    assert links.read_link(body) == links.Link(
        7, "eth0", "krater:a:b:c", "veth", "02:aa:bb:cc:dd:ee", master=9, peer=3, mtu=1400, is_up=True
    )


@pytest.mark.parametrize(("address", "family"), [("10.0.0.2", socket.AF_INET), ("fd00::2", socket.AF_INET6)])
def test_an_address_is_written_and_read(address: str, family: int) -> None:
    body = links.new_address(3, address, 24).body
    assert body[0] == family
    assert links.read_address(body) == (3, f"{address}/24")


def test_who_looks_for_an_ipv6_address_asks_its_group() -> None:
    assert links.solicited_group("fd4b:1::12:3456") == "ff02::1:ff12:3456"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_refusal_that_will_not_change_is_permanent(number: int) -> None:
    error = translated(NetlinkError(number, "no"))
    assert isinstance(error, Permanent)
    assert "no" in error.message


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOBUFS, errno.ENODEV])
def test_a_refusal_that_may_pass_is_temporary(number: int) -> None:
    assert isinstance(translated(NetlinkError(number, "busy")), Temporary)
