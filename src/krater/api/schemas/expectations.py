"""What the types of requests expect at each place, in words. Pure.

A type says so itself, in its description; of one that has none, its kind and its bounds are told.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_STEP = re.compile(r"[^.\[\]]+|\[(?:[0-9]+|\.\.\.)\]")
_ANY_KEY = "[...]"
_SHOWN = 60


def expected_at(shape: type, path: str) -> str | None:
    """What is expected at a place within a struct, such as `spec.containers[0].image`; None for no place at all."""
    hint: Any = shape
    said, expected = "", None
    for step in _STEP.findall(path):
        is_item = step.startswith("[")
        hint = _item(hint) if is_item else _field(hint, step)
        is_told = is_item and step != _ANY_KEY and _struct_of(hint) is None
        of_all = said if is_told else ""  # "a list of strings" is said of the list
        said = _description(hint) or of_all
        expected = said or _kind(hint) or expected
    return expected


def expected_of_keys(shape: type, path: str) -> str:
    """What the keys of the object at a place have to be."""
    hint = _hint_at(shape, path)
    for part in _parts(hint):
        if get_origin(part) is dict:
            return _kind(get_args(part)[0]) or "a text"
    return "a text"


def with_keys(shape: type, path: str, values: object) -> str:
    """A path with the keys that msgspec leaves out: those of the first values that are wrong."""
    hint: Any = shape
    shown = ""
    for step in _STEP.findall(path):
        is_item = step.startswith("[")
        hint = _item(hint) if is_item else _field(hint, step)
        key = _key(step, values, hint)
        values = _inner(values, key)
        if is_item:
            shown += step if key is None or step != _ANY_KEY else f"[{_shown(key)}]"
        else:
            shown += f".{step}" if shown else step
    return shown


def _key(step: str, values: object, hint: Any) -> Any:
    """What leads on from values: of an object whose key is not told, that of the first value that is wrong."""
    if not step.startswith("["):
        return step
    if step != _ANY_KEY:
        return int(step[1:-1])
    items = values.items() if isinstance(values, Mapping) else ()
    return next((key for key, value in items if not _fits(value, hint)), None)


def _inner(values: object, key: Any) -> object:
    if isinstance(values, Mapping):
        return values.get(key)
    return values[key] if isinstance(values, list) and isinstance(key, int) else None


def known_at(shape: type, path: str) -> list[str]:
    """The fields there are at a place within a struct; none if that is no struct."""
    inner = _struct_of(_hint_at(shape, path))
    return field_names(inner) if inner is not None and path else []


def field_names(shape: type) -> list[str]:
    """The names of a struct's fields, as they stand in JSON."""
    return [field.encode_name for field in msgspec.structs.fields(shape)]


@lru_cache(maxsize=256)
def descriptions(shape: type) -> dict[str, str]:
    """What is expected of each field, from its type."""
    found = {name: _description(hint) for name, hint in _hints(shape).items()}
    return {name: text for name, text in found.items() if text}


@lru_cache(maxsize=256)
def _hints(shape: type) -> dict[str, Any]:
    hints = get_type_hints(shape, include_extras=True)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(shape)}


def _hint_at(shape: type, path: str) -> Any:
    hint: Any = shape
    for step in _STEP.findall(path):
        hint = _item(hint) if step.startswith("[") else _field(hint, step)
    return hint


def _field(hint: Any, name: str) -> Any:
    struct = _struct_of(hint)
    return None if struct is None else _hints(struct).get(name)


def _item(hint: Any) -> Any:
    """What a list or an object holds."""
    for part in _parts(hint):
        if get_origin(part) in (list, dict):
            return get_args(part)[-1]
    return None


def _parts(hint: Any) -> list[Any]:
    """What a type may be, without what is said of it: the alternatives of a union, one of anything else."""
    if get_origin(hint) is Annotated:
        return _parts(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [part for one in get_args(hint) for part in _parts(one)]
    return [hint]


def _struct_of(hint: Any) -> type | None:
    """The struct that a field holds, itself or as one of several."""
    return next((p for p in _parts(hint) if isinstance(p, type) and issubclass(p, msgspec.Struct)), None)


def _fits(value: object, hint: Any) -> bool:
    try:
        msgspec.convert(value, Any if hint is None else hint)
    except msgspec.ValidationError:
        return False
    return True


def _shown(key: object) -> str:
    name = str(key)
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


def _description(hint: Any) -> str:
    """The description of an annotated type, or of the first described member of a union."""
    if get_origin(hint) is Annotated:
        texts = [m.description for m in hint.__metadata__ if isinstance(m, msgspec.Meta) and m.description]
        if texts:
            return str(texts[-1])
    elif get_origin(hint) not in (Union, UnionType):
        return ""
    return next((text for part in get_args(hint) if (text := _description(part))), "")


_WORDS = {bool: "true or false", int: "a whole number", float: "a number"}
_SIZED = {str: ("a text", "character"), list: ("a list", "item"), dict: ("an object", "key")}


def _kind(hint: Any) -> str:
    """What a type that does not describe itself is; nothing if that says nothing."""
    if get_origin(hint) in (Union, UnionType):
        told = [_kind(one) for one in get_args(hint) if one is not type(None)]
        return " or ".join(dict.fromkeys(told)) if all(told) else ""
    bounds = hint.__metadata__ if get_origin(hint) is Annotated else ()
    bare = get_args(hint)[0] if bounds else hint
    if get_origin(bare) in (Union, UnionType, Annotated):
        return _kind(bare)
    if get_origin(bare) is Literal:
        return f"one of {', '.join(map(str, get_args(bare)))}"
    return _word(bare, bounds)


def _word(bare: Any, bounds: Sequence[Any]) -> str:
    """A type that is no other ones together, with its bounds."""
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return "an object"
    if bare in _WORDS:
        return _WORDS[bare] + _range(*_bounds(bounds, "ge", "le"), before=", ")
    name, of = _SIZED.get(get_origin(bare) or bare, ("", ""))
    sizes = _range(*_bounds(bounds, "min_length", "max_length"), before=" of ")
    return f"{name}{sizes} {of}{'' if sizes.endswith(' 1') else 's'}" if name and sizes else name


def _bounds(bounds: Sequence[Any], least: str, most: str) -> tuple[Any, Any]:
    found: list[Any] = []
    for name in (least, most):
        values = [getattr(one, name, None) for one in bounds]
        found.append(next((value for value in values if value is not None), None))
    return found[0], found[1]


def _range(least: Any, most: Any, *, before: str) -> str:
    if least is None and most is None:
        return ""
    if least is None:
        return f"{before}at most {most}"
    return f"{before}at least {least}" if most is None else f"{before}{least} to {most}"
