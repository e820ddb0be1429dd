"""Containers: list, show, update, delete, rename, and the networks they are on."""

from typing import Any

from krater.api.commands import workloads as commands
from krater.api.commands.workloads import Asking, Changes
from krater.api.handlers import members
from krater.api.handlers.answers import NO_CONTENT, found
from krater.api.handlers.asking import asking_of, change, check_since, hint_controller
from krater.api.handlers.live import call_node
from krater.api.links import base_of
from krater.api.lists import next_link, page_of, refuse_unknown, text_of, texts_of
from krater.api.policies import FIELD_RULES
from krater.api.rendering import status_of
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import Rename
from krater.api.schemas.answers import ContainerNetworks
from krater.api.schemas.containers import DeleteQuery, Update
from krater.api.schemas.decoding import decode_arguments, decode_body, decode_query
from krater.api.schemas.fields import strict_bool, truth
from krater.api.sifting import Keys, sift
from krater.api.specs import read_cpu, read_memory
from krater.api.subjects import Subject, alone
from krater.bus.messages import Resize, Stats
from krater.errors import Conflict, KraterError
from krater.model.status import RUNNING, Status
from krater.store.interfaces import EVERYBODY, Tx, Workload, WorkloadQuery

FILTERS = ("name", "image", "project_id", "user_id", "memory", "host", "task_state", "status", "auto_remove")
_MIB = 1 << 20
_ALSO_KNOWN = ("all_projects", "capsule", "expand", "resource_url")


async def list_all(request: Request) -> Answer:
    """The lone containers of the caller's project; with all_projects, everybody's; with capsule, its members."""
    request.require("container:get_all")
    refuse_unknown(request, (*FILTERS, *_ALSO_KNOWN))
    reach = request.own
    everybody = text_of(request, "all_projects")
    if everybody is not None and strict_bool("all_projects", everybody):
        request.require("container:get_all_all_projects")
        reach = EVERYBODY
    for field in FILTERS:
        if field in request.query and request.backing.policies.has_rule(FIELD_RULES + field):
            request.require(FIELD_RULES + field)
    if "capsule" in request.query:
        return await members.list_all(request)
    asking, page = await asking_of(request, reach), page_of(request)
    query = _query(request, asking)
    words, tasks = texts_of(request, "status"), texts_of(request, "task_state")

    def matches(workload: Workload) -> bool:
        status = status_of(workload, asking.nodes, asking.at)
        return (not words or status.word in words) and (not tasks or status.task in tasks)

    def look(tx: Tx) -> list[Workload]:
        return [] if query is None else sift(tx, reach, query, page, _keys(asking), matches if words or tasks else None)

    workloads = await request.backing.store.read(look)
    following = next_link(request, "containers", page, workloads[-1].id if workloads else None, len(workloads))
    body = request.backing.renderer.page(workloads, request.caller, asking.nodes, asking.at, following)
    return Answer(200, body)


def _keys(asking: Asking) -> Keys:
    """What a list can be sorted by that is in no column: all that is one value, and that everybody may see."""

    def status(workload: Workload) -> Status:
        return status_of(workload, asking.nodes, asking.at)

    return {
        "status": lambda one: status(one).word,
        "status_reason": lambda one: status(one).reason or "",
        "status_detail": lambda one: status(one).detail or "",
        "task_state": lambda one: status(one).task or "",
        "hostname": lambda one: one.spec.hostname,
        "workdir": lambda one: one.spec.containers[0].workdir or "",
        "image_driver": lambda one: one.spec.containers[0].image_driver,
        "cpu_policy": lambda one: one.spec.containers[0].cpu_policy,
        "registry_id": lambda one: one.spec.containers[0].registry or "",
        "interactive": lambda one: one.spec.containers[0].interactive,
        "tty": lambda one: one.spec.containers[0].tty,
        "auto_heal": lambda one: one.spec.auto_heal,
    }


def _query(request: Request, asking: Asking) -> WorkloadQuery | None:
    """The filters on stored columns, or None when they cannot match anything."""
    memory = texts_of(request, "memory")
    numbers = tuple(int(text) for text in memory if text.isascii() and text.isdigit() and len(text) < 10)
    hosts = texts_of(request, "host")
    nodes = tuple(node.id for host in hosts if (node := asking.nodes.named(host)) is not None)
    if (memory and not numbers) or (hosts and not nodes):
        return None
    removed = text_of(request, "auto_remove")
    return WorkloadQuery(
        names=texts_of(request, "name"),
        images=texts_of(request, "image"),
        users=texts_of(request, "user_id"),
        projects=texts_of(request, "project_id"),
        memory=numbers,
        nodes=nodes,
        auto_remove=None if removed is None else strict_bool("auto_remove", removed),
    )


async def show(request: Request) -> Answer:
    """One container."""
    everybody = text_of(request, "all_projects")
    reach = request.reach
    if everybody is not None and strict_bool("all_projects", everybody):
        request.require("container:get_one_all_projects")
        reach = EVERYBODY
    asking, ident = await asking_of(request, reach), request.params["container"]
    subject = await request.backing.store.read(lambda tx: commands.find(tx, asking, ident, "container:get_one"))
    return members.shown(request, asking, subject) if subject.is_member else _shown(request, asking, subject.workload)


def _shown(request: Request, asking: Asking, workload: Workload, status: int = 200) -> Answer:
    links = base_of(request).of("containers", workload.id)
    return Answer(status, request.backing.renderer.one(workload, request.caller, asking.nodes, asking.at, links))


async def update(request: Request) -> Answer:
    """Another name, other limits: PATCH."""
    asking, _, after = await _update(request, "update")
    return _shown(request, asking, after)


async def resize(request: Request) -> Answer:
    """Other limits: POST resize_container. Answers with what the container had before."""
    asking, before, _ = await _update(request, "resize_container")
    return _shown(request, asking, before, 202)


async def _update(request: Request, operation: str) -> tuple[Asking, Workload, Workload]:
    ask = await decode_body(request, Update)
    limits = request.backing.settings.limits
    changes = Changes(
        name=ask.name,
        cpu=None if ask.cpu is None else read_cpu(ask.cpu, limits),
        memory=None if ask.memory is None else read_memory(ask.memory, limits),
        auto_heal=None if ask.auto_heal is None else truth(ask.auto_heal),
    )
    asking, ident = await asking_of(request), request.params["container"]
    quota, allocations = request.backing.settings.quota.limits, request.backing.allocations
    if changes.memory is not None:
        await _refuse_less_than_used(request, asking, ident, changes.memory, operation)
    before, after = await request.backing.store.write(
        lambda tx: commands.update(tx, asking, ident, changes, quota, operation, allocations)
    )
    if after.intent.generation != before.intent.generation:
        hint_controller(request, after)
        await _resize_now(request, asking, alone(after), alone(before))
    return asking, before, after


async def _refuse_less_than_used(request: Request, asking: Asking, ident: str, memory: int, operation: str) -> None:
    """The kernel would not have it: say so before anything is stored. What grows later is the node's to tell."""
    subject = await request.backing.store.read(lambda tx: commands.find_ready(tx, asking, ident, operation))
    if memory >= subject.container.resources.memory or asking.status(subject).word != RUNNING:
        return
    try:
        used = (await call_node(request, asking, subject, Stats(subject.id))).memory_used
    except KraterError:
        return
    if used > memory * _MIB:
        raise Conflict(
            f"memory: container {subject.id} uses {-(-used // _MIB)} MiB now; its limit cannot become {memory} MiB."
        )


async def _resize_now(request: Request, asking: Asking, after: Subject, before: Subject) -> None:
    """Apply new limits at once. If the node cannot now, it will: the change is stored."""
    asked = after.container.resources
    if asked == before.container.resources or asking.status(before).word != RUNNING:
        return
    try:
        await call_node(request, asking, after, Resize(after.id, asked.cpu, asked.memory))
    except KraterError:
        return


async def delete(request: Request) -> Answer:
    """Remove a container: asynchronous, idempotent with force."""
    query = decode_query(request, DeleteQuery)
    force, stop, everybody = truth(query.force), truth(query.stop), truth(query.all_projects)
    reach = request.reach
    if everybody:
        request.require("container:delete_all_projects")
        reach = EVERYBODY
    if force and not stop:
        check_since(request, "force", 7)
    if stop:
        check_since(request, "stop", 12)
    asking, ident = await asking_of(request, reach), request.params["container"]
    await change(request, lambda tx: commands.delete(tx, asking, ident, force=force, stop=stop))
    return NO_CONTENT


async def rename(request: Request) -> Answer:
    """Another name (microversions up to 1.13)."""
    ask = await decode_arguments(request, Rename)
    asking, ident = await asking_of(request), request.params["container"]
    workload = await change(request, lambda tx: commands.rename(tx, asking, ident, ask.name))
    return _shown(request, asking, workload)


async def network_list(request: Request) -> Answer:
    """The networks of a container, or of its capsule: by address up to 1.17, by port from 1.18 on."""
    asking, ident = await asking_of(request), request.params["container"]
    subject = await request.backing.store.read(lambda tx: commands.find(tx, asking, ident, "container:get_one"))
    networks: list[dict[str, Any]] = []
    for nic in subject.workload.placement.nics:
        addresses = [
            {
                "subnet_id": address.subnet,
                "version": 6 if ":" in address.address else 4,
                "ip_address": address.address,
            }
            for address in nic.addresses
        ]
        card = {"net_id": nic.network, "port_id": nic.port}
        if request.version >= 18:
            networks.append({**card, "fixed_ips": addresses})
        else:
            networks.extend({**card, **address} for address in addresses)
    return found(ContainerNetworks(networks))
