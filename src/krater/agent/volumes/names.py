"""Ids as names of files and directories."""

import re
from typing import Final

from krater.errors import Invalid

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def checked(id: str) -> str:
    """An id that can be a file's name and nothing else. Invalid."""
    if not _NAME.fullmatch(id):
        raise Invalid(f"{id!r} is not the id of a workload, a volume or a file")
    return id
