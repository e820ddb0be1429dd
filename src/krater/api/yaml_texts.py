"""YAML from people who may mean harm: bounded in time and memory. Pure.

What YAML adds to JSON beyond spelling is not there: aliases (a few lines of them can mean gigabytes), tags, numbers of
base 60 (a megabyte of them takes half a minute), dates (which are texts here).
"""

import re
from typing import Any, ClassVar

import yaml

_DEEPEST, _MOST = 32, 50_000
_LEFT_OUT = frozenset(f"tag:yaml.org,2002:{word}" for word in ("int", "float", "timestamp"))
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,18}|0o?[0-7]{1,20}|0x[0-9a-fA-F]{1,16})$")
_FLOAT = re.compile(
    r"^[-+]?(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # that of C takes a tenth of the time


class _Loader(_BASE):  # type: ignore[misc]
    """Numbers as in JSON, more or less; what is too long for one is a text."""

    yaml_implicit_resolvers: ClassVar[Any] = {
        first: [pair for pair in pairs if pair[0] not in _LEFT_OUT]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml(text: str) -> object:
    """What it says. yaml.YAMLError, and other errors of the library."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases are not allowed{event.start_mark}")
        if getattr(event, "tag", None) not in (None, "!", "tag:yaml.org,2002:str"):
            raise yaml.YAMLError(f"tags are not allowed{event.start_mark}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")
        if count > _MOST:
            raise yaml.YAMLError(f"it has more than {_MOST} parts")
    return yaml.load(text, Loader=_Loader)  # noqa: S506 -- a safe loader, with less
