"""Asking Docker Hub which images there are: in bounded time, a few questions at once, and little is read."""

import asyncio
import http.client
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from krater.errors import Forbidden, Temporary, Unavailable
from krater.outgoing import Place, Ways, link

_WITHIN = 5.0
_LARGEST = 1 << 20
_MOST = 100
_THREADS: Final = ThreadPoolExecutor(4, thread_name_prefix="image-search")  # one that hangs keeps nothing else waiting


async def find_images(url: str, words: str, ways: Ways, ca_file: str = "") -> list[dict[str, Any]]:
    """What it finds. Unavailable when it does not answer, or the operator does not want it asked."""
    if not url:
        raise Unavailable("The operator of Krater has turned the search of Docker Hub off.", code="image-search-off")
    try:
        async with asyncio.timeout(2 * _WITHIN):
            loop = asyncio.get_running_loop()
            content = await loop.run_in_executor(_THREADS, _ask, url, words, ways, ca_file)
        results = json.loads(content)["results"]
        return [_shown(result) for result in results[:_MOST] if isinstance(result, dict)]
    except (Forbidden, Temporary, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise Unavailable("Docker Hub does not answer the search now: try again later.") from error


def _ask(url: str, words: str, ways: Ways, ca_file: str) -> bytes:
    parts = urlsplit(url)
    trusted = ssl.create_default_context()
    if ca_file:
        trusted.load_verify_locations(ca_file)
    asking = link(Place.of(url), ways, trusted, _WITHIN)
    try:
        query = urlencode({"q": words[:255], "n": _MOST})
        asking.request(
            "GET", f"{parts.path or '/'}?{query}", headers={"User-Agent": "krater", "Accept": "application/json"}
        )
        answer = asking.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"status {answer.status}")
        return answer.read(_LARGEST)
    finally:
        asking.close()


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    about = {"is_official": bool(result.get("is_official")), "star_count": result.get("star_count") or 0}
    name, description = str(result.get("name") or "")[:255], str(result.get("description") or "")[:1000]
    return {"name": name, "description": description, "metadata": about}
