"""From bytes and query strings to typed requests, with refusals that name the field and what is allowed in it."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from krater.api.errors import WrongMediaType
from krater.api.requests import Request
from krater.errors import Invalid

T = TypeVar("T", bound=msgspec.Struct)

CODE = "schema-validation-error"
_PLACE = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
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
        raise _explain(str(error), shape) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def convert(values: Mapping[str, Any], shape: type[T], *, place: str = "") -> T:
    """Plain values as `shape`. Invalid, with `place` in front of the field it names."""
    try:
        return msgspec.convert(values, shape)
    except msgspec.ValidationError as error:
        raise _explain(str(error), shape, place) from error
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


def _explain(text: str, shape: type, place: str = "") -> Invalid:
    """msgspec's complaint in words for the person who wrote the request. Nothing of what they sent is repeated
    at length."""
    found = _PLACE.search(text)
    inner = found[1] if found else ""
    bare = text[: found.start()] if found else text
    path = ".".join(part for part in (place, inner) if part)
    within = f"{path}: " if path else ""
    if unknown := _UNKNOWN.match(bare):
        names = field_names(shape) if not inner else known_at(shape, inner)
        known = f"; known are {', '.join(sorted(names))}" if names else ""
        return Invalid(f"{within}there is no field {_shown(unknown[1])}{known}", field=unknown[1][:_SHOWN], code=CODE)
    if missing := _MISSING.match(bare):
        return Invalid(f"{within}{missing[1]!r} is a required property", field=missing[1], code=CODE)
    field = re.split(r"[.\[]", path, maxsplit=1)[0]
    expected = expected_at(shape, inner)
    if expected is None:
        reason = bare[:200] if field else "The request body is not a JSON object."
        return Invalid(f"{within}{reason}", field=field or None, code=CODE)
    return Invalid(f"{path}: expected {expected}", field=field, code=CODE)


def expected_at(shape: type, path: str) -> str | None:
    """What is expected at a place within a struct, from the description nearest to it."""
    expected: str | None = None
    for step, kind in _walk(shape, path):
        expected = descriptions(kind).get(step) or expected
    return expected


def known_at(shape: type, path: str) -> list[str]:
    """The fields there are at a place within a struct; none if that is no struct."""
    inner: type | None = shape
    for step, kind in _walk(shape, path):
        inner = _struct_of(_hints(kind).get(step))
    return field_names(inner) if inner is not None and path else []


def _walk(shape: type, path: str) -> Iterator[tuple[str, type]]:
    """The names along a path such as `spec.containers[0].image`, each with the struct it is a field of."""
    kind: type | None = shape
    for step in re.findall(r"[^.\[\]]+(?=$|[.\[])", path):
        if kind is None:
            return
        if step in ("...",) or step.isdigit():
            continue
        yield step, kind
        kind = _struct_of(_hints(kind).get(step))


@lru_cache(maxsize=256)
def _hints(shape: type) -> dict[str, Any]:
    hints = get_type_hints(shape, include_extras=True)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(shape)}


def _struct_of(hint: Any) -> type | None:
    """The struct that a field holds, itself, as an option or in a list."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    return next((found for part in get_args(hint) if (found := _struct_of(part)) is not None), None)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


def field_names(shape: type) -> list[str]:
    """The names of a struct's fields, as they stand in JSON."""
    return [field.encode_name for field in msgspec.structs.fields(shape)]


@lru_cache(maxsize=256)
def descriptions(shape: type) -> dict[str, str]:
    """What is expected of each field, from its type."""
    found = {name: _description(hint) for name, hint in _hints(shape).items()}
    return {name: text for name, text in found.items() if text}


def _description(hint: Any) -> str:
    """The description of an annotated type, or of the first described member of a union."""
    if get_origin(hint) is Annotated:
        texts = [m.description for m in hint.__metadata__ if isinstance(m, msgspec.Meta) and m.description]
        if texts:
            return str(texts[-1])
    return next((text for part in get_args(hint) if (text := _description(part))), "")
