"""POST /containers: every check in the order the Container API has it, then one transaction."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from msgspec import UNSET

from krater.api.commands import workloads as commands
from krater.api.commands.connections import join_groups
from krater.api.commands.workloads import Asking
from krater.api.handlers import own_images
from krater.api.handlers.asking import asking_of, change, check_since
from krater.api.handlers.mounting import holding, resolve_mounts
from krater.api.handlers.security_groups import groups_of
from krater.api.handlers.sources import check_source, read_registry
from krater.api.links import base_of
from krater.api.requests import Answer, Request
from krater.api.schemas.containers import CreateBase, CreateQuery, HealthcheckAsk, create_shape
from krater.api.schemas.decoding import decode_json_body, decode_query
from krater.api.schemas.fields import truth
from krater.api.specs import (
    container_spec,
    net_asks,
    of_own_image,
    read_exposed,
    read_resources,
    read_restart,
    workload_spec,
)
from krater.errors import Invalid, NotFound, OverQuota
from krater.model.network import NetRequest
from krater.model.quota import Limits, Usage, exceeded
from krater.model.workload import ContainerSpec, Desired, Intent, Kind, RestartPolicy
from krater.store.interfaces import Tx, Workload


async def create(request: Request) -> Answer:
    """Make a container, and with `run=true` start it."""
    minor = request.version
    ask = await decode_json_body(request, create_shape(minor))
    run = truth(decode_query(request, CreateQuery).run)
    resources = read_resources(ask, request.backing.settings.limits)
    container = container_spec(str(uuid4()), ask, resources, minor)
    asks = net_asks(ask.nets)
    request.require("container:create")
    groups = await _resolve_groups(request, ask)
    await check_quota(request, Usage.of(1, resources))
    _check_placing(request, ask)
    nets = await request.backing.networks.resolve(request.caller, asks)
    restart = _check_rest(request, ask)
    registry = await read_registry(request, ask.registry)
    own = await own_images.choose(request, container.image, ask.image_driver, registry)
    if own is None:
        check_source(request, container.image, registry)
        container = replace(container, registry=None if registry is None else registry.id)
    else:
        container = of_own_image(container, own)
    _check_destination(request, ask)
    asking = await asking_of(request)
    _check_host(asking, getattr(ask, "host", UNSET))
    mounts = await resolve_mounts(request, ask)
    container = replace(container, mounts=mounts.mounts)
    workload = _workload(request, ask, container, restart, nets, groups, run=run)
    limits = request.backing.settings.quota.limits
    hold = holding(request, workload.id, mounts)
    stored = await change(request, lambda tx: _store(tx, asking, workload, limits, hold))
    base = base_of(request)
    body = request.backing.renderer.one(
        stored, request.caller, asking.nodes, asking.at, base.of("containers", stored.id)
    )
    return Answer(202, body, (base.location("containers", stored.id),))


def _workload(
    request: Request,
    ask: CreateBase,
    container: ContainerSpec,
    restart: RestartPolicy | None,
    nets: tuple[NetRequest, ...],
    groups: tuple[str, ...] | None,
    *,
    run: bool,
) -> Workload:
    """A new workload of one container, which has the workload's id."""
    return Workload(
        id=container.id,
        kind=Kind.CONTAINER,
        project_id=request.caller.project_id,
        user_id=request.caller.user_id,
        name=container.name,
        spec=workload_spec(ask, container, restart, nets, groups),
        intent=Intent(Desired.RUNNING, run=1) if run else Intent(Desired.CREATED),
        created_at=request.backing.now(),
    )


def _store(tx: Tx, asking: Asking, workload: Workload, limits: Limits, hold: Callable[[Tx], None] | None) -> Workload:
    stored = commands.create(tx, asking, workload, limits, hold)
    join_groups(tx, stored)
    return stored


async def _resolve_groups(request: Request, ask: CreateBase) -> tuple[str, ...] | None:
    """The groups it is to be in, as ids. One for its exposed ports is made with it; nothing asked is the default."""
    if not ask.security_groups:
        return (str(uuid4()),) if ask.exposed_ports else None
    return await groups_of(request).resolve(request.caller, ask.security_groups)


async def check_quota(request: Request, usage: Usage) -> None:
    """Refuse early, before networks are looked up. What counts is the charge in the transaction."""
    project, defaults = request.caller.project_id, request.backing.settings.quota.limits
    limits, used = await request.backing.store.read(
        lambda tx: (tx.quotas.limits(project, defaults), tx.quotas.usage(project))
    )
    reason = exceeded(limits, used, usage)
    if reason is not None:
        raise OverQuota(f"Quota exceeded for {reason}")


def _check_placing(request: Request, ask: CreateBase) -> None:
    """Fields about how and where it runs, up to the networks."""
    if ask.auto_remove is not None:
        check_since(request, "auto_remove", 3)
    if ask.runtime:
        check_since(request, "runtime", 5)
        request.require("container:create:runtime")
    if ask.hostname is not UNSET:
        check_since(request, "hostname", 9)


def _check_rest(request: Request, ask: CreateBase) -> RestartPolicy | None:
    """Fields that come after the networks."""
    if ask.healthcheck is not None and ask.healthcheck != HealthcheckAsk():
        check_since(request, "healthcheck", 22)
    if ask.mounts:
        check_since(request, "mounts", 11)
    if ask.privileged is not None:
        check_since(request, "privileged", 21)
        request.require("container:create:privileged")
    if ask.image_pull_policy is not None:
        request.require("container:create:image_pull_policy")
    restart = read_restart(ask.restart_policy)
    _check_exposed(request, ask)
    return restart


def _check_destination(request: Request, ask: CreateBase) -> None:
    if getattr(ask, "host", UNSET) is not UNSET:
        request.require("container:create:requested_destination")


def _check_exposed(request: Request, ask: CreateBase) -> None:
    if not ask.exposed_ports:
        return
    check_since(request, "exposed_ports", 24)
    if ask.security_groups and request.version >= 20:
        raise Invalid("exposed_ports: cannot be given together with security_groups", field="exposed_ports")
    read_exposed(ask.exposed_ports)


def _check_host(asking: Asking, host: object) -> None:
    if isinstance(host, str) and asking.nodes.named(host) is None:
        raise NotFound(f"Requested host {host} could not be found.", code="requested-host-not-found")
