"""What is shown of a capsule and its members, in words. Pure."""

from krater.cli.words import age, progress_words, short_id, status_words
from krater.client.capsule_answers import Capsule, Member, members_of

_BAD, _RESTLESS = ("Error", "Unknown", "Dead"), ("Creating", "Restarting", "Deleting", "Paused")


def name_of(capsule: Capsule) -> str:
    """What to call it: it need not have a name."""
    return capsule["name"] or short_id(capsule["uuid"])


def running(capsule: Capsule) -> str:
    """How many members run of those that are to run on, as `2/3`."""
    lasting = [member for member in members_of(capsule) if member["role"] != "init"]
    return f"{sum(member['status'] == 'Running' for member in lasting)}/{len(lasting)}"


def color(capsule: Capsule) -> str | None:
    """A colour that says whether to look closer."""
    status = capsule["status"]
    if status in _BAD:
        return "red"
    if status in _RESTLESS or (status == "Running" and capsule["status_reason"]):
        return "yellow"
    return "green" if status == "Running" else "grey"


def addresses(capsule: Capsule) -> list[str]:
    """Its addresses on all networks."""
    return [address["addr"] for found in (capsule["addresses"] or {}).values() for address in found]


def age_of(capsule: Capsule) -> str:
    """How long ago it was made."""
    return age(capsule["created_at"])


def trouble(capsule: Capsule | None, name: str) -> str:
    """One sentence about a capsule that is not as it was asked to be."""
    if capsule is None:
        return f"{name} is gone."
    reason = capsule["status_reason"]
    return f"{name} is {capsule['status']}: {reason}" if reason else f"{name} is {capsule['status']}."


def member_words(member: Member) -> str:
    """What a member does, for somebody who waits."""
    if member["task_state"] or member["status"] in ("Creating", "Restarting"):
        return progress_words(member)
    words, reason = status_words(member), member["status_reason"]
    return f"{words}: {reason}" if reason and reason not in words else words


def state_words(member: Member) -> str:
    """Its state for a table that has a column for the reason."""
    return member["status"] if member["status"] in _BAD else status_words(member)


def ready_words(member: Member) -> str:
    """What its readiness probe says; empty where it has none."""
    return {True: "yes", False: "no", None: ""}[member["ready"]]


def ended_words(member: Member) -> str:
    """The exit code of its last process."""
    return "" if member["exit_code"] is None else str(member["exit_code"])
