"""The field types requests are made of. The description of each is what a caller who gets it wrong is told."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from krater.errors import Invalid

# `$` in a Python pattern also matches before a last line feed; this does not, and means the same in JSON Schema.
_END = r"(?![\s\S])"

Text = Annotated[str, Meta(max_length=65536)]
Scalar = str | int | float | bool

Name = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=255,
        pattern=rf"^[a-zA-Z0-9][a-zA-Z0-9_.-]+{_END}",
        description="2 to 255 letters, digits, '_', '.' and '-', the first a letter or digit",
    ),
]
ImageName = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=255,
        pattern=r"[a-zA-Z0-9][a-zA-Z0-9_.-]",
        description="an image name of 2 to 255 characters, such as docker.io/library/alpine:3.20",
    ),
]
HostName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=rf"^[a-zA-Z0-9-._]*{_END}",
        description="1 to 255 letters, digits, '-', '.' and '_'",
    ),
]
GuestHostName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern=rf"^[a-zA-Z0-9-._]*{_END}",
        description="1 to 63 letters, digits, '-', '.' and '_': more than that no kernel takes",
    ),
]
ShortText = Annotated[str, Meta(min_length=1, max_length=255, description="a text of 1 to 255 characters")]

Boolean = Annotated[
    bool | Literal[0, 1, "True", "true", "False", "false"],
    Meta(description="true or false (also spelled 'True', 'true', 'False', 'false')"),
]
BooleanExtended = Annotated[
    bool
    | Literal["True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"]
    | Literal["False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]
    | Literal[0, 1],
    Meta(description="a boolean: true, 1, on, yes or false, 0, off, no"),
]

_DIGITS = rf"^[0-9]{{1,18}}{_END}"
Digits = Annotated[
    Annotated[int, Meta(ge=0, le=10**18)] | Annotated[str, Meta(pattern=_DIGITS)],
    Meta(description="a whole number, or its digits as a string"),
]
Positive = Annotated[
    Annotated[int, Meta(ge=1, le=10**9)] | Annotated[str, Meta(pattern=rf"^0*[1-9][0-9]{{0,8}}{_END}")],
    Meta(description="a whole number of at least 1, or its digits as a string"),
]
Cpu = Annotated[
    float | Annotated[str, Meta(max_length=32, pattern=rf"^(?=.)[0-9]*(\.[0-9]+)?{_END}")],
    Meta(description="a number of cores, such as 0.5, or such a number as a string"),
]
Memory = Annotated[
    Annotated[int, Meta(ge=0, le=10**18)] | Annotated[str, Meta(pattern=_DIGITS)],
    Meta(description="a whole number of MiB, or its digits as a string"),
]
Disk = Annotated[
    Annotated[int, Meta(ge=0, le=10**18)] | Annotated[str, Meta(pattern=_DIGITS)],
    Meta(description="a whole number of GiB, or its digits as a string"),
]

Words = Annotated[list[Scalar], Meta(max_length=4096, description="a list of strings")]
Environment = Annotated[
    dict[Annotated[str, Meta(min_length=1)], str],
    Meta(description="an object whose names are not empty, and whose values are strings"),
]
Labels = Annotated[dict[str, Scalar | None], Meta(description="an object whose values are strings")]
Hints = Annotated[dict[str, Scalar | None], Meta(description="an object whose values are strings")]

_TRUE = frozenset({"true", "1", "on", "yes", "t", "y"})
_FALSE = frozenset({"false", "0", "off", "no", "f", "n"})


def truth(value: bool | int | str) -> bool:
    """The meaning of a boolean in one of its many spellings; the field's type decides which are allowed."""
    return str(value).lower() in _TRUE


def strict_bool(name: str, value: Any) -> bool:
    """A boolean of a query string that no schema looks at."""
    word = str(value).lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise Invalid(f"{name}: expected one of 1, t, true, on, y, yes, 0, f, false, off, n, no", field=name)
