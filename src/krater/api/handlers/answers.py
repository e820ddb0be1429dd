"""The few shapes most answers have."""

from typing import Any

import msgspec

from krater.api.requests import Answer

_encoder = msgspec.json.Encoder()

ACCEPTED = Answer(202, b"null")
DONE = Answer(200, b"null")
NO_CONTENT = Answer(204)


def found(body: Any) -> Answer:
    """200 with a body."""
    return Answer(200, _encoder.encode(body))


def accepted(body: Any, *headers: tuple[bytes, bytes]) -> Answer:
    """202 with a body."""
    return Answer(202, _encoder.encode(body), headers)
