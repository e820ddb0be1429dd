"""Krater's API for Python programs. Start at `Client`.

Imports nothing else of Krater and only the standard library, so that it can be used, and read, on its own.
"""

from krater.client.access import Access, find_access
from krater.client.answers import Container, Image, OwnImage
from krater.client.api import Client
from krater.client.capsule_answers import Capsule, Member, members_of
from krater.client.console import Console
from krater.client.errors import (
    AccessError,
    ApiError,
    BadAnswer,
    BadArchive,
    ClientError,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotNow,
    NotSettled,
    NotThere,
    ServerFailed,
    Unreachable,
)
from krater.client.states import exit_code, is_capsule_over, is_capsule_settled, is_over, is_settled

__all__ = [
    "Access",
    "AccessError",
    "ApiError",
    "BadAnswer",
    "BadArchive",
    "Capsule",
    "Client",
    "ClientError",
    "Conflict",
    "Console",
    "Container",
    "Image",
    "InvalidRequest",
    "Member",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotNow",
    "NotSettled",
    "NotThere",
    "OwnImage",
    "ServerFailed",
    "Unreachable",
    "exit_code",
    "find_access",
    "is_capsule_over",
    "is_capsule_settled",
    "is_over",
    "is_settled",
    "members_of",
]
