"""Console tickets."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from krater.errors import Unauthenticated
from krater.tickets import Signer, Ticket, Verifier


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 7, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


CLOCK = Clock()
SEED = b"k" * 32


def signer(clock: Clock = CLOCK, audience: str = "gateway", seed: bytes = SEED) -> Signer:
    return Signer(audience, seed, lifetime=60, now=clock)


def verifier(clock: Clock = CLOCK, audience: str = "gateway") -> Verifier:
    return Verifier(audience, signer().public_key, now=clock)


def issue(by: Signer, session: str = "s1") -> str:
    return by.issue(user="u", project="p", container="c", session=session, kind="attach")


def resigned(claims: object) -> str:
    """Claims of our own, signed by the right key."""
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    return f"{text}.{base64.urlsafe_b64encode(key.sign(b'krater ticket 1' + bytes([10]) + text.encode())).decode()}"


def claims(**changes: object) -> dict[str, object]:
    good = {
        "audience": "gateway",
        "user": "u",
        "project": "p",
        "container": "c",
        "session": "s",
        "kind": "attach",
        "expires": CLOCK.now.timestamp() + 60,
        "nonce": "n",
        "address": "unix:streams.sock",
        "secret": "5",
    }
    return {**good, **changes}


def test_a_ticket_says_what_was_put_in() -> None:
    ticket = verifier().redeem(issue(signer()))
    assert ticket == Ticket("gateway", "u", "p", "c", "s1", "attach", CLOCK.now.timestamp() + 60, ticket.nonce)


def test_no_two_are_the_same() -> None:
    assert issue(signer()) != issue(signer())


def test_it_is_good_once() -> None:
    gate, ticket = verifier(), issue(signer())
    gate.redeem(ticket)
    with pytest.raises(Unauthenticated):
        gate.redeem(ticket)


def test_another_spelling_of_the_same_ticket_is_not_another_ticket() -> None:
    gate, ticket = verifier(), issue(signer())
    gate.redeem(ticket)
    for other in (f"{ticket}==", f"{ticket[:-1]}{chr(ord(ticket[-1]) + 1)}", f"{ticket}="):
        with pytest.raises(Unauthenticated):
            gate.redeem(other)


@pytest.mark.parametrize(("seconds", "is_good"), [(0, True), (59.9, True), (60, False), (3600, False)])
def test_it_expires(seconds: float, is_good: bool) -> None:
    clock = Clock()
    ticket = issue(signer(clock))
    clock.forward(seconds)
    if is_good:
        verifier(clock).redeem(ticket)
    else:
        with pytest.raises(Unauthenticated):
            verifier(clock).redeem(ticket)


def test_it_is_for_one_gateway() -> None:
    with pytest.raises(Unauthenticated):
        verifier(audience="other").redeem(issue(signer()))


def test_another_key_signs_nothing_here() -> None:
    with pytest.raises(Unauthenticated):
        verifier().redeem(issue(signer(seed=b"x" * 32)))
    with pytest.raises(Unauthenticated):
        verifier().redeem(issue(Signer("gateway", now=CLOCK)))


def test_what_was_used_is_forgotten_when_it_has_expired() -> None:
    clock = Clock()
    gate = verifier(clock)
    for number in range(100):
        gate.redeem(issue(signer(clock), f"s{number}"))
        clock.forward(1)
    assert len(gate) <= 60
    clock.forward(60)
    gate.redeem(issue(signer(clock)))
    assert len(gate) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        "text",
        None,
        claims(expires="never"),
        claims(expires=None),
        claims(user=1),
        claims(more="x"),
        {name: value for name, value in claims().items() if name != "nonce"},
        claims(expires=float("nan")),
    ],
)
def test_claims_of_another_shape_are_refused_even_when_signed(wrong: object) -> None:
    assert verifier().redeem(resigned(claims())).nonce == "n"
    with pytest.raises(Unauthenticated):
        verifier().redeem(resigned(wrong))


@pytest.mark.parametrize("text", ["", ".", "..", "a.b", "é.é", "a" * 5000, "=.=", "e30.", ".e30"])
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier().redeem(text)


@given(st.text(max_size=300))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier().redeem(text)


@given(st.data())
def test_no_changed_character_passes(data: st.DataObject) -> None:
    ticket = issue(signer())
    at = data.draw(st.integers(0, ticket.index(".") - 1))
    to = data.draw(st.sampled_from("abcXYZ019-_"))
    changed = ticket[:at] + to + ticket[at + 1 :]
    if changed != ticket:
        with pytest.raises(Unauthenticated):
            verifier().redeem(changed)
