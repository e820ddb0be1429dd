"""Errors for people: one line that says what is wrong, one that says what to do next."""

import sys

from krater.cli.tables import is_colored, paint, safe
from krater.client import (
    Access,
    BadAnswer,
    ClientError,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotNow,
    ServerFailed,
    Unreachable,
)

FAILED, MISUSED, NOT_RUN, INTERRUPTED = 1, 2, 125, 130


def report(error: ClientError, access: Access | None) -> None:
    """Print what is wrong and what to do next."""
    complain(error.title)
    hint = hint_for(error, access)
    if hint:
        print(f"  {hint}", file=sys.stderr)


def complain(text: str) -> None:
    """Print one line of what is wrong."""
    print(f"{paint('krater:', 'red' if is_colored(sys.stderr) else None)} {safe(text)}", file=sys.stderr)


def hint_for(error: ClientError, access: Access | None) -> str:
    """What to do about it; empty when the error says all there is."""
    match error:
        case Unreachable(refused=True):
            hint = "Is Krater running? Start it with `krater serve`, or name another with --url or KRATER_URL."
        case Unreachable():
            hint = "Is the address right? It comes from --url, KRATER_URL or the client file."
        case BadAnswer():
            hint = "Name the address of Krater's API with --url or KRATER_URL."
        case NotAuthenticated():
            hint = _login_hint(access)
        case NotAllowed(code=code) if code.endswith("policy-not-authorized"):
            hint = "Your roles do not allow this; an administrator can do it."
        case NotFound() if error.code.endswith("container-not-found"):
            hint = "`krater ps` lists the containers of your project."
        case NotFound() if error.code.endswith("capsule-not-found"):
            hint = "`krater capsule ls` lists the capsules of your project."
        case NotNow():
            hint = "Try again in a moment."
        case ServerFailed(request_id=request) if request:
            hint = f"The server's log says more about request {request}."
        case _:
            hint = ""
    return hint


def _login_hint(access: Access | None) -> str:
    if access is None or access.source == "nowhere":
        return (
            "No password was given: set KRATER_USERNAME and KRATER_PASSWORD, or KRATER_CLIENT_FILE"
            " (the server writes one: client.yaml in its directory, for root to read)."
        )
    who = f"the password of user {access.username!r}" if not access.token else "the token"
    project = f", for project {access.project!r}" if access.project else ""
    return f"What was used is {who} from {access.source}{project}."
