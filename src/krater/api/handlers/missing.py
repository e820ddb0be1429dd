"""What the Container API has and Krater has not, yet: said plainly, never 404."""

from krater.api.requests import Answer, Handler, Request
from krater.errors import Unsupported


def missing(what: str) -> Handler:
    """A handler that says so."""

    async def refuse(request: Request) -> Answer:
        raise Unsupported(f"Not in Krater yet: {what}.")

    return refuse
