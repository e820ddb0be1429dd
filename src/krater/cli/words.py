"""What is shown of a container, in words. Pure."""

from datetime import UTC, datetime

from krater.client.answers import Container

_TASKS = {
    "image_pulling": "pulling the image",
    "container_creating": "being created",
    "container_starting": "starting",
    "container_deleting": "being removed",
    "container_stopping": "stopping",
    "container_rebooting": "restarting",
    "container_pausing": "pausing",
    "container_unpausing": "unpausing",
    "container_killing": "being killed",
    "container_rebuilding": "being rebuilt",
    "network_attaching": "joining a network",
    "network_detaching": "leaving a network",
}

SHORT_ID = 12


def short_id(identifier: str) -> str:
    """The beginning of an id, enough to name it by."""
    return identifier[:SHORT_ID]


def name_of(container: Container) -> str:
    """What to call it: its name, or of a capsule's member CAPSULE/MEMBER."""
    member = str(container.get("member_name") or "")
    name = container["name"]
    return f"{name.removeprefix('capsule-').removesuffix(f'-{member}')}/{member}" if member else name


def task_words(container: Container) -> str:
    """What is being done to it; empty when nothing is."""
    task = container["task_state"] or ""
    return _TASKS.get(task, task.replace("_", " "))


def progress_words(container: Container) -> str:
    """For somebody who waits: what is being done, and what is in the way."""
    words = task_words(container) or container["status"].lower()
    return f"{words}: {container['status_reason']}" if container["status_reason"] else words


def status_words(container: Container) -> str:
    """For a table: as short as it can be, and all that matters."""
    status, detail = container["status"], (container["status_detail"] or "").strip()
    task, reason = task_words(container), container["status_reason"] or ""
    if status in ("Running", "Stopped", "Paused") and detail and detail != "Created":
        words = detail
    elif status in ("Error", "Unknown", "Dead") and reason:
        return f"{status}: {reason}"
    else:
        words = status
    if task:
        return f"{words}, {task}" if status != "Creating" or task != "being created" else words
    return words


def status_color(container: Container) -> str | None:
    """A colour that says whether to look closer."""
    status = container["status"]
    if status in ("Error", "Dead", "Unknown"):
        return "red"
    if container["task_state"] or status in ("Creating", "Restarting", "Rebuilding", "Deleting", "Paused"):
        return "yellow"
    if "(unhealthy)" in (container["status_detail"] or ""):
        return "red"
    return "green" if status == "Running" else "grey"


def health_check_words(container: Container) -> str:
    """What is run to see whether it is well, and when; empty when nothing is."""
    check = container["healthcheck"] or {}
    if not check.get("test"):
        return ""
    pairs = (("every", "interval", "s"), ("within", "timeout", "s"), ("failing", "retries", " times"))
    words = [f"{word} {check[key]}{unit}" for word, key, unit in pairs if check.get(key)]
    return f"{check['test']} ({', '.join(words)})" if words else str(check["test"])


def addresses(container: Container) -> list[str]:
    """Its addresses on all networks."""
    return [a["addr"] for found in (container["addresses"] or {}).values() for a in found]


def trouble(container: Container | None, name: str) -> str:
    """One sentence about a container that is not as it was asked to be."""
    if container is None:
        return f"{name} is gone."
    reason = container["status_reason"] or (container["status_detail"] or "").strip()
    words = task_words(container)
    state = container["status"] + (f" ({words})" if words else "")
    return f"{name}: {reason}" if reason and container["status"] == "Error" else f"{name} is {state}. {reason}".strip()


def mebibytes(amount: float) -> str:
    """An amount given in MiB."""
    if amount >= 1024:
        return f"{amount / 1024:.3g}G"
    return f"{amount:.1f}M" if 0 < amount < 10 and amount != int(amount) else f"{amount:.0f}M"


def size(amount: str | float | None) -> str:
    """An amount given in bytes, as a number or its digits; other text stays as it is."""
    try:
        left = float(amount or 0)
    except ValueError:
        return str(amount)
    if amount in (None, ""):
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000:
            return f"{left:.3g}{unit}"
        left /= 1000
    return f"{left:.3g}TB"


def moment(text: str | None) -> str:
    """A time of the API, to the second."""
    return (text or "").replace("T", " ").partition(".")[0].partition("+")[0]


def took(start: str | None, finish: str | None) -> str:
    """How long it took, or has taken until now."""
    if not start:
        return ""
    begun = _utc(start)
    seconds = max(0.0, ((_utc(finish) if finish else datetime.now(UTC)) - begun).total_seconds())
    text = f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.0f}s" if seconds < 600 else f"{seconds / 60:.0f}min"
    return text if finish else f"{text} so far"


def age(text: str | None) -> str:
    """How long ago that was."""
    if not text:
        return ""
    seconds = max(0, int((datetime.now(UTC) - _utc(text)).total_seconds()))
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "mins")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def _utc(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
