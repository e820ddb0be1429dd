"""From bytes and query strings to typed requests, with refusals that name the field and what is allowed in it."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from krater.api.errors import WrongMediaType
from krater.api.requests import Request
from krater.api.schemas.expectations import expected_at, expected_of_keys, field_names, known_at, with_keys
from krater.errors import Invalid

T = TypeVar("T", bound=msgspec.Struct)

CODE = "schema-validation-error"
_PLACE = re.compile(r" - at (`key` in )?`\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.*)`$", re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SHOWN = 60


async def decode_body(request: Request, shape: type[T]) -> T:
    """The JSON object of the body; an empty body is an empty object."""
    raw = await request.body()
    return decode(raw if raw.strip() else b"{}", shape)


async def decode_json_body(request: Request, shape: type[T]) -> T:
    """The same where the specification asks for `Content-Type: application/json`."""
    kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise WrongMediaType(f"{request.method} {request.path[:200]} needs Content-Type: application/json.")
    return await decode_body(request, shape)


async def decode_arguments(request: Request, shape: type[T]) -> T:
    """Arguments that may come in the query string or in the body, but not twice."""
    raw = await request.body()
    body = msgspec.convert(_parse(raw), dict[str, Any]) if raw.strip() else {}
    query = request.query
    twice = sorted(body.keys() & query.keys())
    if twice:
        raise Invalid(f"{_shown(twice[0])}: given in the query string and in the body", field=twice[0], code=CODE)
    return convert({**query, **body}, shape)


def decode_query(request: Request, shape: type[T]) -> T:
    """Arguments of the query string alone."""
    return convert(request.query, shape)


def decode(raw: bytes, shape: type[T]) -> T:
    """A JSON text as `shape`. Invalid."""
    _refuse_nul(raw)
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        raise _explain(str(error), shape, _parse(raw)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def convert(values: Mapping[str, Any], shape: type[T], *, place: str = "") -> T:
    """Plain values as `shape`. Invalid, with `place` in front of the field it names."""
    try:
        return msgspec.convert(values, shape)
    except msgspec.ValidationError as error:
        raise _explain(str(error), shape, values, place) from error
    except RecursionError:
        raise Invalid(f"{place or 'The request'} is nested too deeply", code=CODE) from None


def _refuse_nul(raw: bytes) -> None:
    """No kernel takes a NUL in a text, and not every database."""
    if b"\\u0000" in raw and _NUL.search(raw):
        raise Invalid("The request body has a NUL character (\\u0000) in a text; it is allowed nowhere.", code=CODE)


def _parse(raw: bytes) -> dict[str, Any]:
    _refuse_nul(raw)
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error
    if not isinstance(found, dict):
        raise Invalid("The request body is not a JSON object.", code=CODE)
    return found


def _not_json(error: Exception) -> Invalid:
    reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is not valid JSON: {str(error)[:200]}"
    return Invalid(f"The request body {reason}", code=CODE)


def _explain(text: str, shape: type, values: Mapping[str, Any], place: str = "") -> Invalid:
    """msgspec's complaint about `values` in words for the person who wrote the request. Nothing of what they sent is
    repeated at length."""
    found = _PLACE.search(text)
    inner = found[2] if found else ""
    bare = text[: found.start()] if found else text
    path = ".".join(part for part in (place, with_keys(shape, inner, values)) if part)
    within = f"{path}: " if path else ""
    if unknown := _UNKNOWN.match(bare):
        names = field_names(shape) if not inner else known_at(shape, inner)
        known = f"; known are {', '.join(sorted(names))}" if names else ""
        return Invalid(f"{within}there is no field {_shown(unknown[1])}{known}", field=unknown[1][:_SHOWN], code=CODE)
    if missing := _MISSING.match(bare):
        return Invalid(f"{within}{missing[1]!r} is a required property", field=missing[1], code=CODE)
    field = re.split(r"[.\[]", path, maxsplit=1)[0]
    if found and found[1]:
        reason = f"expected every key to be {expected_of_keys(shape, inner)}"
        return Invalid(f"{within}{reason}", field=field or None, code=CODE)
    expected = expected_at(shape, inner)
    if expected is None:
        reason = bare[:200] if field else "The request body is not a JSON object."
        return Invalid(f"{within}{reason}", field=field or None, code=CODE)
    return Invalid(f"{path}: expected {expected}", field=field, code=CODE)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")
