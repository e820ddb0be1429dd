"""The OpenAPI document, a page to read it with, and the metrics."""

from importlib.resources import files

from krater.api.requests import Answer, Request
from krater.telemetry import METRICS_TYPE, metrics_page

_PAGE = files("krater.api").joinpath("docs.html").read_bytes()
_HTML = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
        b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
)


async def openapi(request: Request) -> Answer:
    """The document."""
    return Answer(200, request.backing.openapi)


async def metrics(request: Request) -> Answer:
    """Counters and timings in Prometheus' text form, for administrators."""
    request.require("metrics:get")
    return Answer(200, metrics_page(), ((b"content-type", METRICS_TYPE.encode()),))


async def docs(_: Request) -> Answer:
    """The page; it fetches the document."""
    return Answer(200, _PAGE, _HTML)
