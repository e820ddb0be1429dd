"""From a request to the commands: who asks, and how a changed intent becomes known."""

from collections.abc import Callable
from typing import TypeVar

from krater.api.commands.workloads import Asking
from krater.api.requests import Request
from krater.bus.interfaces import CONTROLLER
from krater.bus.messages import WorkloadChanged
from krater.errors import Invalid
from krater.store.interfaces import Scope, Tx, Workload

T = TypeVar("T")


async def asking_of(request: Request, reach: Scope | None = None) -> Asking:
    """The caller's request as commands take it. Ids and names mean what `reach` (else the caller) may see."""
    backing = request.backing
    return Asking(
        caller=request.caller,
        reach=request.reach if reach is None else reach,
        request_id=request.id,
        at=backing.now(),
        nodes=await backing.nodes.table(),
        policies=backing.policies,
    )


async def change(request: Request, command: Callable[[Tx], Workload]) -> Workload:
    """Run a command, then wake the controller: only what is stored may be hinted at."""
    workload = await request.backing.store.write(command)
    hint_controller(request, workload)
    return workload


def hint_controller(request: Request, workload: Workload) -> None:
    """Wake the controller for a workload."""
    request.backing.bus.hint(CONTROLLER, WorkloadChanged(workload.id))


def check_since(request: Request, field: str, first: int) -> None:
    """Invalid when a field is used at a version that does not have it yet."""
    if request.version < first:
        raise Invalid(
            f"Invalid param {field} because current request version is 1.{request.version}. "
            f"{field} is only supported from version 1.{first}",
            field=field,
            code="invalid-param-in-version",
        )
