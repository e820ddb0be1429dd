"""Pulling from a registry, by containerd's CRI image service: it knows mirrors, tokens and certificates."""

import asyncio
from typing import Any, Final

from krater.agent.runtimes.interfaces import Progress, PullProgress
from krater.agent.runtimes.oci.images.client import DEFAULT_METADATA, Absent, Client, translated
from krater.agent.runtimes.oci.pb import content_pb2, cri_pb2
from krater.errors import Permanent, Temporary

TELL_EVERY: Final = 0.5


async def pull(client: Client, name: str, account: tuple[str, str] | None, progress: Progress | None) -> None:
    """Have the image in the store, by its full name. Permanent when the registry has none, or will not give it."""
    request = cri_pb2.PullImageRequest(image=cri_pb2.ImageSpec(image=name))
    if account is not None:
        request.auth.username, request.auth.password = account
    teller = asyncio.create_task(_tell(client, progress)) if progress is not None else None
    try:
        with translated(f"pull {name}"):
            await client.registry.PullImage(request)
    except Absent as error:
        raise Permanent(f"the registry has no image {name!r}") from error
    except Temporary as error:
        raise explain(name, error) from error
    finally:
        if teller is not None:
            teller.cancel()


def explain(name: str, error: Temporary) -> Permanent | Temporary:
    """containerd wraps a registry's refusal in a long sentence of its own; say what it means."""
    text = error.message.lower()
    if "unauthorized" in text or "authorization failed" in text or "denied" in text or "403 forbidden" in text:
        return Permanent(f"the registry does not give out {name!r}: log in, or check the name")
    if "not found" in text or "manifest unknown" in text:
        return Permanent(f"the registry has no image {name!r}")
    if "http response to https client" in text:
        return Permanent(f"the registry of {name!r} does not speak TLS, and plain HTTP is not allowed for it")
    if "no match for platform" in text:
        return Permanent(f"the image {name!r} has no variant for this machine")
    if "no such host" in text or "connection refused" in text or "i/o timeout" in text or "dial tcp" in text:
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
