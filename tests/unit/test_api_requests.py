"""The pure parts of the API: versions, routes, decoding, signals, names, links."""

import re
import string
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.api.errors import NotAcceptable, UnknownPath, WrongMethod, error_answer
from krater.api.handlers.live import read_signal
from krater.api.microversions import requested_minor
from krater.api.router import Router, public_paths
from krater.api.routes import ROUTES
from krater.api.schemas.actions import Timeout
from krater.api.schemas.containers import Create1, Create20, Create40, create_shape
from krater.api.schemas.decoding import convert, decode
from krater.api.schemas.fields import strict_bool, truth
from krater.api.specs import default_name, net_asks, read_command, read_resources, read_restart, split_words
from krater.config import LimitSettings
from krater.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KraterError,
    NoCapacity,
    NotFound,
    OverQuota,
    Permanent,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

ROUTER = Router(ROUTES)


def refusal_of(do: Callable[[], object]) -> KraterError | None:
    """What it raises, or None."""
    try:
        do()
    except KraterError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("header", "minor"),
    [
        (None, 1),
        (b"container 1.1", 1),
        (b"container 1.40", 40),
        (b"Container 1.20", 20),
        (b"  container   1.7 ", 7),
        (b"container latest", 40),
        (b"container LATEST", 40),
        (b"anything latest", 40),
        (b"compute 2.79, container 1.12", 12),
        (b"container 1.12,compute 2.79", 12),
    ],
)
def test_versions_that_are_served(header: bytes | None, minor: int) -> None:
    assert requested_minor(header) == minor


@pytest.mark.parametrize(
    "header",
    [
        *(b"container 1.0", b"container 1.41", b"container 2.1", b"container 0.5", b"container 1", b"container"),
        *(b"compute 1.5", b"1.5", b"", b"container one", b"container 1.5.1", b"container -1.5", b"container 1.5 6"),
        *(b"container \xff", b"container 1." + b"9" * 5000, b"compute 2.79, volume 3.1"),
    ],
)
def test_versions_that_are_not(header: bytes) -> None:
    with pytest.raises(NotAcceptable) as caught:
        requested_minor(header)
    assert len(caught.value.message) < 300


def test_an_unsupported_version_says_which_there_are() -> None:
    with pytest.raises(NotAcceptable) as caught:
        requested_minor(b"container 1.99")
    answer = error_answer(caught.value, "req-1")
    [entry] = msgspec.json.decode(answer.body)["errors"]
    assert answer.status == 406
    assert entry["code"] == "zun.microversion-unsupported"
    assert entry["title"] == "Requested microversion is unsupported"
    assert (entry["min_version"], entry["max_version"], entry["links"][0]["rel"]) == ("1.1", "1.40", "help")


def test_the_route_table_finds_each_of_its_routes() -> None:
    for route in ROUTES:
        values = re.findall(r"{(\w+)}", route.path)
        segments = tuple(re.sub(r"{(\w+)}", r"v-\1", part) for part in route.path.split("/") if part)
        found, params = ROUTER.find(route.method, segments)
        assert found is route
        assert params == {name: f"v-{name}" for name in values}


def test_no_two_routes_are_the_same() -> None:
    keys = [(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in ROUTES]
    assert len(keys) == len(set(keys))


def test_only_documents_are_public() -> None:
    assert public_paths(ROUTES) == {(), ("v1",), ("healthcheck",), ("openapi.json",), ("docs",)}


@given(st.lists(st.text(max_size=20), max_size=6), st.text(max_size=10))
def test_no_path_breaks_the_router(segments: list[str], method: str) -> None:
    refusal = refusal_of(lambda: ROUTER.find(method, tuple(segments)))
    assert refusal is None or isinstance(refusal, UnknownPath | WrongMethod)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from([*Create40.__struct_fields__, "unknown"])


@given(st.dictionaries(FIELDS, JSON, max_size=6), st.sampled_from([1, 19, 20, 38, 39, 40]))
def test_any_json_object_is_a_request_or_an_invalid_with_a_short_reason(body: dict[str, Any], minor: int) -> None:
    raw = msgspec.json.encode({"image": "busybox", **body})

    def read() -> None:
        ask = decode(raw, create_shape(minor))
        read_resources(ask, LimitSettings())
        read_restart(ask.restart_policy)
        net_asks(ask.nets)

    refusal = refusal_of(read)
    assert refusal is None or (isinstance(refusal, Invalid) and 0 < len(refusal.message) < 1500)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_invalid(raw: bytes) -> None:
    refusal = refusal_of(lambda: decode(raw, Create40))
    assert refusal is None or refusal.code == "schema-validation-error"


def test_what_is_nested_too_deeply_is_invalid() -> None:
    raw = b'{"image":"busybox","hints":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_001
    with pytest.raises(Invalid):
        decode(raw, Create40)


def test_the_shape_of_create_follows_the_version() -> None:
    assert [create_shape(minor) for minor in (1, 19, 20, 38)] == [Create1, Create1, Create20, Create20]
    assert create_shape(40) is Create40


@pytest.mark.parametrize("word", ["True", "TRUE", "1", "on", "On", "YES", True, 1])
def test_spellings_of_true(word: Any) -> None:
    assert truth(word)


@pytest.mark.parametrize(("word", "value"), [("t", True), ("Y", True), ("oN", True), ("F", False), ("0", False)])
def test_strict_booleans(word: str, value: bool) -> None:
    assert strict_bool("all_projects", word) is value


@pytest.mark.parametrize("word", ["", "maybe", "2", "None"])
def test_what_is_no_boolean(word: str) -> None:
    with pytest.raises(Invalid, match="all_projects"):
        strict_bool("all_projects", word)


@pytest.mark.parametrize("text", ["10\n", "٣", " 1", "1e3", "0x10"])
def test_digits_are_ascii_digits_only(text: str) -> None:
    with pytest.raises(Invalid):
        convert({"timeout": text}, Timeout)


def test_a_command_line_is_split_as_a_shell_does() -> None:
    assert read_command("'a b' c\\ d") == ("a b", "c d")
    assert read_command("") is None
    assert read_command([]) is None
    with pytest.raises(Invalid, match="command"):
        split_words("command", "'open")


@given(st.integers(min_value=1, max_value=64))
def test_numbers_of_signals(number: int) -> None:
    assert read_signal(str(number)) == number


@given(st.text(alphabet=string.printable, max_size=20))
def test_any_text_is_a_signal_or_invalid(text: str) -> None:
    refusal = refusal_of(lambda: read_signal(text))
    assert read_signal(text) in range(1, 65) if refusal is None else isinstance(refusal, Invalid)


def test_default_names_are_names() -> None:
    for _ in range(50):
        assert re.fullmatch(r"[a-z]+-([1-9]|1[0-9]|2[0-4])-container", default_name())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Invalid("x"), 400, "container.invalid"),
        (Invalid("x", code="invalid-value"), 400, "container.invalid-value"),
        (Unauthenticated("x"), 401, "container.unauthorized"),
        (Forbidden("x"), 403, "container.policy-not-authorized"),
        (OverQuota("x"), 403, "container.over-quota"),
        (NotFound("x", code="container-not-found"), 404, "container.container-not-found"),
        (Conflict("x"), 409, "container.conflict"),
        (Unsupported("x"), 501, "container.not-implemented"),
        (Unavailable("x"), 503, "container.unavailable"),
        (NoCapacity("x"), 503, "container.no-valid-host"),
        (Permanent("x"), 500, "container.permanent"),
        (KraterError("x"), 500, "container.error"),
    ],
)
def test_every_error_has_its_status_and_code(error: KraterError, status: int, code: str) -> None:
    answer = error_answer(error, "req-1")
    [entry] = msgspec.json.decode(answer.body)["errors"]
    assert (answer.status, entry["status"], entry["code"], entry["title"]) == (status, status, code, "x")


def test_a_name_that_is_wrong_is_told_with_its_place() -> None:
    error = refusal_of(lambda: decode(b'{"image": "busybox", "environment": {"": "x"}}', Create40))
    assert isinstance(error, Invalid)
    assert error.field == "environment"
    assert error.message == "environment: expected every key to be a text of at least 1 character"
