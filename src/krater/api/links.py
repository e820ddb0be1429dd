"""URLs of things, as clients reach them: under `public_url`, else as the request came, with its prefix."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from krater.api.requests import Request

_HOST = re.compile(r"[A-Za-z0-9._~%-]{1,255}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Base:
    """The beginning of all URLs of one answer, without a slash at its end."""

    url: str

    def of(self, collection: str, id: str) -> list[dict[str, str]]:
        """The two links every resource has."""
        return [
            {"href": f"{self.url}/v1/{collection}/{id}", "rel": "self"},
            {"href": f"{self.url}/{collection}/{id}", "rel": "bookmark"},
        ]

    def location(self, collection: str, id: str) -> tuple[bytes, bytes]:
        """The header that names what was just made."""
        return (b"location", f"{self.url}/v1/{collection}/{id}".encode())

    def next(self, collection: str, query: dict[str, str | list[str]]) -> str:
        """The URL of the next part of a list."""
        return f"{self.url}/v1/{collection}?{urlencode(query, doseq=True, quote_via=quote)}"


def base_of(request: Request) -> Base:
    """The base for the answer to this request. A Host header that is no host is not repeated."""
    public = request.backing.settings.api.public_url
    if public:
        return Base(public.rstrip("/"))
    host = request.headers.get(b"host", b"").decode("latin-1")
    if not _HOST.fullmatch(host):
        address, port = request.asgi.get("server") or ("localhost", None)
        host = f"{address}:{port}" if port else str(address)
    return Base(f"{request.asgi.get('scheme', 'http')}://{host}{request.asgi.get('root_path', '').rstrip('/')}")
