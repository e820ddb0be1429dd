"""Requests: credentials and microversion go out, JSON comes back, a no becomes an exception."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from krater.client.access import Access
from krater.client.errors import AccessError, ApiError, BadAnswer, InvalidRequest, error_class
from krater.client.transport import Answer, StreamedAnswer, Transport

MICROVERSION = "1.40"
_LONGEST_NO = 1 << 20

Params = Mapping[str, str | int | float | bool | list[str] | None]


class Session:
    """Requests with credentials and a microversion, JSON in and out, errors as exceptions."""

    def __init__(self, transport: Transport, access: Access) -> None:
        self._transport = transport
        self._headers = _headers(access)
        self.cacert = access.cacert

    def get(self, path: str, params: Params | None = None) -> Any:
        """What is at `path`."""
        return self.ask("GET", path, params)

    def post(self, path: str, params: Params | None = None, body: object = None) -> Any:
        """Ask for something to be done."""
        return self.ask("POST", path, params, body)

    def ask(self, method: str, path: str, params: Params | None = None, body: object = None) -> Any:
        """The decoded answer of a request that went well; any other raises."""
        return self.exchange(method, path, params, body)[0]

    def exchange(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        body: object = None,
        extra: Mapping[str, str] | None = None,
    ) -> tuple[Any, Mapping[str, str]]:
        """The same with headers: `extra` ones there, all of them back."""
        content = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, **(extra or {})}
        if method != "GET":
            headers["Content-Type"] = "application/json"
        query = _query(params)
        answer = self._transport.request(method, path + ("?" + query if query else ""), headers, content)
        if not 200 <= answer.status < 300:
            raise _error(answer)
        if answer.status == 204 or not answer.body:
            return None, answer.headers
        return _decode(answer, self._transport.url), answer.headers

    @contextmanager
    def stream(
        self, method: str, path: str, params: Params | None = None, pieces: Iterable[bytes] | None = None
    ) -> Iterator[StreamedAnswer]:
        """A request whose body and answer go by in pieces, neither of them JSON, unless the answer is a no."""
        headers = dict(self._headers)
        if pieces is not None:
            headers["Content-Type"] = "application/octet-stream"
        query = _query(params)
        with self._transport.stream(method, path + ("?" + query if query else ""), headers, pieces) as answer:
            if not 200 <= answer.status < 300:
                raise _error(Answer(answer.status, answer.headers, answer.read(_LONGEST_NO)))
            yield answer

    def piece(self, path: str, first: int) -> tuple[bytes, int]:
        """Bytes of something large from position `first` on, as many as the server likes, and how many there are."""
        answer = self._transport.request("GET", path, {**self._headers, "Range": f"bytes={first}-"})
        if not 200 <= answer.status < 300:
            raise _error(answer)
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        if not total.isdigit() or not answer.body:
            raise BadAnswer(f"{self._transport.url} did not say how much there is.")
        return answer.body, int(total)

    def pages(self, path: str, key: str, params: Params | None = None, *, page: int = 500) -> Iterator[Any]:
        """All items of a collection, a page at a time. Filters are repeated: the server's own links drop them."""
        asked = {**(params or {}), "limit": page}
        while True:
            answer = self.get(path, asked)
            if not isinstance(answer, dict) or not isinstance(answer.get(key), list):
                raise BadAnswer(f"{self._transport.url} answered something that is no list of {key}.")
            yield from answer[key]
            following = dict(parse_qsl(urlsplit(answer.get("next") or "").query))
            if "marker" not in following or following["marker"] == asked.get("marker"):
                return
            asked["marker"] = following["marker"]


def segment(name: str) -> str:
    """A name or id as one segment of a path. What would change the path, the server could never have named."""
    if name in ("", ".", ".."):
        raise InvalidRequest(f"{name!r} is not a name or an id.", status=400)
    return quote(name, safe="")


def _headers(access: Access) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "OpenStack-API-Version": f"container {MICROVERSION}",
        "User-Agent": "krater-client",
    }
    if access.token:
        headers["X-Auth-Token"] = access.token
    elif access.username:
        if ":" in access.username:
            raise AccessError(f"The user name {access.username!r} has a colon in it, which HTTP Basic does not allow.")
        login = f"{access.username}:{access.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
    if access.project:
        headers["X-Krater-Project"] = quote(access.project)
    return headers


def _query(params: Params | None) -> str:
    given = {key: str(value).lower() if isinstance(value, bool) else value for key, value in (params or {}).items()}
    return urlencode({key: value for key, value in given.items() if value is not None}, doseq=True)


def _decode(answer: Answer, url: str) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        raise BadAnswer(f"{url} answered something that is not JSON. Is it the address of Krater's API?") from None


def _error(answer: Answer) -> ApiError:
    """The exception for an answer that says no, whoever wrote it: Krater, Keystone's middleware or a proxy."""
    try:
        document = json.loads(answer.body)
        first = document["errors"][0]
        title, detail, code = (str(first.get(key) or "") for key in ("title", "detail", "code"))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        title = detail = code = ""
    error = error_class(answer.status)(
        title or detail or f"The server answered with HTTP status {answer.status}.",
        status=answer.status,
        code=code,
        detail=detail,
        request_id=answer.headers.get("x-openstack-request-id", ""),
    )
    wait = answer.headers.get("retry-after", "")
    error.retry_after = float(wait) if wait.isdigit() else None
    return error
