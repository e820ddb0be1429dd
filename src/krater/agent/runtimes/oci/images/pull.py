"""Pulling from a registry, by containerd's CRI image service: it knows mirrors, tokens and certificates."""

import asyncio
from typing import Any, Final

from krater.agent.runtimes.interfaces import Progress, PullProgress
from krater.agent.runtimes.oci.gate.door import REFUSED, UNREACHABLE
from krater.agent.runtimes.oci.images.client import DEFAULT_METADATA, Absent, Client, translated
from krater.agent.runtimes.oci.pb import content_pb2, cri_pb2
from krater.errors import Permanent, Temporary
from krater.model.image import DEFAULT_DOMAIN, ImageRef
from krater.model.registry import Login

TELL_EVERY: Final = 0.5
_SILENCE: Final = (
    UNREACHABLE,
    "no such host",
    "connection refused",
    "connection reset",
    "i/o timeout",
    "dial tcp",
    "broken pipe",
)
_HUB: Final = "registry-1.docker.io"


async def pull(client: Client, ref: ImageRef, login: Login | None, progress: Progress | None) -> None:
    """Have the image in the store, by its full name. Permanent when the registry has none, or will not give it."""
    name = ref.canonical
    request = cri_pb2.PullImageRequest(image=cri_pb2.ImageSpec(image=name))
    if login is not None:
        request.auth.username, request.auth.password = login.username, login.password
        request.auth.server_address = f"https://{_HUB if ref.domain == DEFAULT_DOMAIN else ref.domain}"
    teller = asyncio.create_task(_tell(client, progress)) if progress is not None else None
    try:
        with translated(f"pull {name}"):
            await client.registry.PullImage(request)
    except Absent as error:
        raise Permanent(f"the registry has no image {name!r}") from error
    except Temporary as error:
        raise explain(name, error, with_login=login is not None) from None
    finally:
        if teller is not None:
            teller.cancel()


_REFUSALS: Final = ("unauthorized", "authorization failed", "denied", "403 forbidden")
_MEANINGS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    ((REFUSED,), "the image {name!r} is not pulled: its registry leads into the operator's network"),
    (("x509:",), "the registry of {name!r} has a certificate that this node does not trust"),
    (_REFUSALS, "the registry does not give out {name!r}: {login}"),
    (("not found", "manifest unknown"), "the registry has no image {name!r}"),
    (
        ("http response to https client",),
        "the registry of {name!r} does not speak TLS, and plain HTTP is not allowed for it",
    ),
    (("no match for platform",), "the image {name!r} has no variant for this machine"),
)


def explain(name: str, error: Temporary, *, with_login: bool = False) -> Permanent | Temporary:
    """containerd wraps a registry's refusal in a long sentence of its own; say what it means."""
    text = error.message.lower()
    if UNREACHABLE not in text:
        login = "it does not accept the login, or has no such image" if with_login else "log in, or check the name"
        for signs, meaning in _MEANINGS:
            if any(sign in text for sign in signs):
                return Permanent(meaning.format(name=name, login=login))
    if text.endswith(": eof") or any(sign in text for sign in _SILENCE):
        return Temporary(f"cannot pull {name!r}: its registry does not answer", code="registry-unreachable")
    return error


async def _tell(client: Client, progress: Progress | None) -> None:
    """Report how far the downloads are. They are all counted: the store does not say whose they are."""
    while progress is not None:
        await asyncio.sleep(TELL_EVERY)
        request = content_pb2.ListStatusesRequest()
        try:
            with translated("see how far the pull is"):
                reply: Any = await client.content.ListStatuses(request, metadata=DEFAULT_METADATA)
        except (Absent, Temporary, Permanent):
            continue  # the pull itself will tell what is wrong
        done, total = sum(s.offset for s in reply.statuses), sum(s.total for s in reply.statuses)
        if total:
            progress(PullProgress(done, total))
