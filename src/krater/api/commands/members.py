"""What users may want of one member of a capsule, apart from the others, and the intent that says it. Pure.

A member's own wishes hold while its capsule is to run; what would reach beyond the member is the capsule's.
"""

from dataclasses import replace

from krater.api.subjects import Subject
from krater.errors import Conflict
from krater.model.member import Role
from krater.model.order import TO_RUN, Crew
from krater.model.workload import Desired, Intent, MemberIntent

_MADE_OF_TEMPLATE = "is what the template says: create the capsule anew to change it"
NOT_FOR_MEMBERS = {
    "delete": "Delete the capsule, or stop this member alone.",
    "rebuild": "Reboot it; to have it made anew, or of another image, create the capsule anew.",
    "rename": f"Its name {_MADE_OF_TEMPLATE}.",
    "update": f"What it may use {_MADE_OF_TEMPLATE}.",
    "resize_container": f"What it may use {_MADE_OF_TEMPLATE}.",
    "network_attach": f"Its networks are the capsule's, and which these are {_MADE_OF_TEMPLATE}.",
    "network_detach": f"Its networks are the capsule's, and which these are {_MADE_OF_TEMPLATE}.",
    "add_security_group": "Its security groups are the capsule's: add rules to one of those.",
    "remove_security_group": "Its security groups are the capsule's: take rules out of one of those.",
}
"""What of a lone container's operations a member has not, and what there is instead."""

_NOT_FOR_INIT = {
    "start": "Reboot the capsule to have it run again.",
    "reboot": "Reboot the capsule to have it run again.",
    "stop": "Stop the capsule, or kill it to have it fail.",
    "pause": "Stop the capsule.",
}
_CHANGES = frozenset({*_NOT_FOR_INIT, "unpause"})


def check_member(subject: Subject, operation: str) -> None:
    """Conflict, with what to do instead, when a member has no such operation, or not now. What is going says so
    itself."""
    workload, instead = subject.workload, NOT_FOR_MEMBERS.get(operation)
    if instead is not None:
        raise _refusal(subject, operation, f"it is a member of capsule {subject.capsule}. {instead}")
    if operation not in _CHANGES:
        return
    instead = _NOT_FOR_INIT.get(operation)
    if subject.container.role is Role.INIT and instead is not None:
        what = f"it is an init container of capsule {subject.capsule}, and runs when its turn comes"
        raise _refusal(subject, operation, f"{what}. {instead}")
    if workload.intent.desired in (Desired.CREATED, Desired.STOPPED) and workload.removal is None:
        instead = "Start the capsule." if operation in ("start", "reboot") else "So is this member, or is about to be."
        raise _refusal(subject, operation, f"its capsule {subject.capsule} is stopped. {instead}")
    if operation in ("start", "reboot"):
        _refuse_vain(subject, operation)


def can_be_killed(subject: Subject) -> bool:
    """Whether SIGKILL means that it shall not run any more. To others it is a signal like any other: an init container
    fails of it, and in a capsule that is being stopped nothing shall run anyway."""
    return subject.container.role is not Role.INIT and subject.workload.intent.desired in TO_RUN


def wish(subject: Subject, desired: Desired, *, again: bool = False, grace: float | None = None) -> Intent:
    """The intent that wants a container so, and `again` in a further run. Of a lone one that is its workload's."""
    intent = subject.workload.intent
    if not subject.is_member:
        grace = intent.grace if grace is None else grace
        return replace(intent, desired=desired, run=intent.run + again, grace=grace)
    own = intent.members.get(subject.id, MemberIntent())
    apart = None if desired is intent.desired else desired
    changed = MemberIntent(apart, own.run + again, grace)
    return replace(intent, members={**intent.members, subject.id: changed})


def _refuse_vain(subject: Subject, operation: str) -> None:
    """It would not run: its turn would never come, or its time is over. Say why, rather than have it wait."""
    workload, spec = subject.workload, subject.workload.spec
    crew = Crew.stored(spec, workload.intent, workload.observed)
    turns = crew.turns()
    if subject.container.role is Role.SIDECAR and crew.is_over(turns):
        what = f"the ordinary members of capsule {subject.capsule} have ended, and it with them"
        raise _refusal(subject, operation, f"{what}. Start one of those, or the capsule.")
    turn = turns[subject.id]
    if turn.doom is None:
        return
    culprit = next(one for one in spec.containers if one.id == turn.culprit)
    instead = "Reboot the capsule." if culprit.role is Role.INIT else f"Start {culprit.name} first."
    raise _refusal(subject, operation, f"{turn.doom} {instead}")


def _refusal(subject: Subject, operation: str, why: str) -> Conflict:
    return Conflict(f"Cannot {operation} container {subject.id}: {why}", code="member-of-capsule")
