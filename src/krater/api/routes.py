"""Every URL, method and microversion of the API, in one table: what routes requests, makes the OpenAPI document, and
drives the tests over all of it.

Paths stand here without `/v1`: it is optional before a collection, as in the Container API.
"""

from msgspec import Struct

from krater.api.handlers import (
    archives,
    availability_zones,
    capsule_creating,
    capsules,
    connections,
    consoles,
    container_actions,
    containers,
    creating,
    documents,
    hosts,
    image_search,
    images,
    live,
    logs,
    networks,
    operations,
    own_images,
    quotas,
    registries,
    security_groups,
    services,
    versions,
    volumes,
)
from krater.api.microversions import ALL, Versions
from krater.api.requests import Handler
from krater.api.router import Route
from krater.api.schemas import actions as arguments
from krater.api.schemas import answers
from krater.api.schemas.capsule_answers import Capsule, CapsuleList
from krater.api.schemas.capsules import CreateCapsule, DeleteCapsule
from krater.api.schemas.containers import Create40, CreateQuery, DeleteQuery, Update
from krater.api.schemas.images import PullImage
from krater.api.schemas.networks import (
    CreateNetwork,
    CreatePort,
    NetworkEntry,
    NetworkList,
    PortEntry,
    PortList,
)
from krater.api.schemas.own_images import (
    CommitQuery,
    Committed,
    OwnImageEntry,
    OwnImageList,
    PushAsk,
    PushEntry,
    SearchQuery,
)
from krater.api.schemas.quotas import LimitsAnswer, SetLimits
from krater.api.schemas.registries import CreateRegistry, RegistryAnswer, RegistryList, UpdateRegistry
from krater.api.schemas.security_groups import CreateGroup, CreateRule, GroupEntry, GroupList, RuleEntry
from krater.api.schemas.services import DisableService, ForceDownService, ServiceName
from krater.api.schemas.volumes import CreateVolume, ResizeVolume, VolumeEntry, VolumeList

_ONE = "/containers/{container}"
_LISTED = answers.ContainerList


def _on_container(
    action: str, handler: Handler, status: int, *, method: str = "POST", versions: Versions = ALL, rule: str = "",
    query: type[Struct] | None = None, either: type[Struct] | None = None, answer: type[Struct] | None = None,
    body: type[Struct] | None = None,
) -> Route:  # fmt: skip
    """An operation on one container, guarded by the rule of its own name."""
    return Route(
        method,
        f"{_ONE}/{action}",
        handler,
        status,
        versions,
        rule or f"container:{action}",
        query,
        body,
        either,
        answer,
    )


DOCUMENTS = (
    Route("GET", "/", versions.root, versions=None, public=True),
    Route("GET", "/v1", versions.v1, public=True),
    Route("GET", "/healthcheck", versions.healthcheck, versions=None, public=True),
    Route("GET", "/openapi.json", documents.openapi, versions=None, public=True),
    Route("GET", "/docs", documents.docs, versions=None, public=True),
    Route("GET", "/metrics", documents.metrics, versions=None, rule="metrics:get"),
)

CONTAINERS = (
    Route("GET", "/containers", containers.list_all, rule="container:get_all", answer=_LISTED),
    Route(
        "POST", "/containers", creating.create, 202, ALL, "container:create", CreateQuery, Create40, None,
        answers.Container,
    ),
    Route("GET", _ONE, containers.show, rule="container:get_one", answer=answers.Container),
    Route("PATCH", _ONE, containers.update, 200, ALL, "container:update", None, Update, None, answers.Container),
    Route("DELETE", _ONE, containers.delete, 204, ALL, "container:delete", DeleteQuery),
)  # fmt: skip

OPERATIONS = (
    _on_container("start", operations.start, 202),
    _on_container("stop", operations.stop, 202, query=arguments.Timeout),
    _on_container("reboot", operations.reboot, 202, query=arguments.Timeout),
    _on_container("rebuild", operations.rebuild, 202, either=arguments.Rebuild),
    _on_container("pause", operations.pause, 202),
    _on_container("unpause", operations.unpause, 202),
    _on_container("kill", live.kill, 202, either=arguments.Kill),
    _on_container("logs", logs.show, 200, method="GET", query=arguments.LogsQuery),
    _on_container(
        "logs/stream", logs.stream, 200, method="GET", query=arguments.LogsStreamQuery, rule="container:logs"
    ),
    _on_container("execute", consoles.execute, 200, either=arguments.Execute, answer=answers.ExecuteResult),
    _on_container("execute_resize", consoles.execute_resize, 200, either=arguments.ExecuteResize),
    _on_container("attach", consoles.attach, 200, method="GET"),
    _on_container("resize", consoles.resize, 200, either=arguments.ResizeConsole),
    _on_container("commit", own_images.commit, 202, either=CommitQuery, answer=Committed),
    _on_container("top", live.top, 200, method="GET", query=arguments.TopQuery, answer=answers.TopResult),
    _on_container("stats", live.stats, 200, method="GET", answer=answers.StatsResult),
    _on_container("get_archive", archives.get, 200, method="GET", query=arguments.ArchivePath, answer=answers.Archive),
    _on_container("put_archive", archives.put, 200, either=arguments.PutArchive),
    _on_container(
        "archive", archives.download, 200, method="GET", rule="container:get_archive", query=arguments.ArchivePath
    ),
    _on_container(
        "archive", archives.upload, 200, method="PUT", rule="container:put_archive", query=arguments.ArchivePath
    ),
    _on_container(
        "resize_container", containers.resize, 202, versions=Versions(19), body=Update, answer=answers.Container
    ),
    _on_container(
        "rename", containers.rename, 200, versions=Versions(last=13), either=arguments.Rename, answer=answers.Container
    ),
    _on_container(
        "add_security_group", connections.add_group, 202, versions=Versions(last=14), either=arguments.GroupName
    ),
    _on_container(
        "remove_security_group", connections.remove_group, 202, versions=Versions(last=14), either=arguments.GroupName
    ),
    _on_container("network_attach", connections.attach, 200, versions=Versions(8), either=arguments.NetworkAttach),
    _on_container("network_detach", connections.detach, 202, versions=Versions(6), query=arguments.NetworkDetach),
    _on_container(
        "network_list", containers.network_list, 200, method="GET", versions=Versions(13), rule="container:get_one",
        answer=answers.ContainerNetworks,
    ),
    Route(
        "GET", f"{_ONE}/container_actions", container_actions.list_all, rule="container:actions",
        answer=answers.ContainerActionList,
    ),
    Route(
        "GET", f"{_ONE}/container_actions/{{request}}", container_actions.show, rule="container:actions",
        answer=answers.ContainerActionDetail,
    ),
)  # fmt: skip

_CAPSULE = "/capsules/{capsule}"
CAPSULES = (
    Route("GET", "/capsules", capsules.list_all, rule="capsule:get_all", answer=CapsuleList),
    Route(
        "POST", "/capsules", capsule_creating.create, 202, rule="capsule:create", body=CreateCapsule, answer=Capsule
    ),
    Route("GET", _CAPSULE, capsules.show, rule="capsule:get", answer=Capsule),
    Route("DELETE", _CAPSULE, capsules.delete, 204, rule="capsule:delete", query=DeleteCapsule),
    Route("POST", f"{_CAPSULE}/start", capsules.start, 202, rule="capsule:start"),
    Route("POST", f"{_CAPSULE}/stop", capsules.stop, 202, rule="capsule:stop", query=arguments.CapsuleTimeout),
    Route("POST", f"{_CAPSULE}/reboot", capsules.reboot, 202, rule="capsule:reboot", query=arguments.CapsuleTimeout),
    Route(
        "GET", f"{_CAPSULE}/container_actions", capsules.list_actions, rule="capsule:actions",
        answer=answers.ContainerActionList,
    ),
    Route(
        "GET", f"{_CAPSULE}/container_actions/{{request}}", capsules.show_action, rule="capsule:actions",
        answer=answers.ContainerActionDetail,
    ),
)  # fmt: skip

IMAGES = (
    Route("GET", "/images", images.list_all, rule="image:get_all", answer=answers.ImageList),
    Route("POST", "/images", images.pull, 202, rule="image:pull", body=PullImage, answer=answers.ImageEntry),
    Route("GET", "/images/{image}", images.show, rule="image:get_one", answer=answers.ImageEntry),
    Route("DELETE", "/images/{image}", images.delete, rule="image:delete"),
    *(
        Route("GET", f"/images/{{image}}{more}/search", image_search.search, rule="image:search", query=SearchQuery)
        for more in ("", "/{part}", "/{part}/{rest}", "/{part}/{rest}/{last}")  # names have slashes in them
    ),
)

_OWN = "/own_images/{image}"
OWN_IMAGES = (
    Route("GET", "/own_images", own_images.list_all, rule="own_image:get_all", answer=OwnImageList),
    Route("GET", _OWN, own_images.show, rule="own_image:get_one", answer=OwnImageEntry),
    Route("DELETE", _OWN, own_images.delete, 204, rule="own_image:delete"),
    Route("GET", f"{_OWN}/archive", own_images.archive, 206, rule="own_image:export"),
    Route("POST", f"{_OWN}/push", own_images.push, 202, rule="own_image:push", body=PushAsk, answer=PushEntry),
    Route("GET", f"{_OWN}/push/{{push}}", own_images.show_push, rule="own_image:push", answer=PushEntry),
)

SINCE_HOSTS = Versions(4)
NODES = (
    Route("GET", "/hosts", hosts.list_all, 200, SINCE_HOSTS, "host:get_all", answer=answers.HostList),
    Route("GET", "/hosts/{host}", hosts.show, 200, SINCE_HOSTS, "host:get", answer=answers.Host),
    Route("GET", "/services", services.list_all, rule="zun-service:get_all", answer=answers.ServiceList),
    Route("DELETE", "/services", services.delete, rule="zun-service:delete", query=ServiceName),
    Route(
        "PUT", "/services/enable", services.enable, rule="zun-service:enable", either=ServiceName,
        answer=answers.ServiceChanged,
    ),
    Route(
        "PUT", "/services/disable", services.disable, rule="zun-service:disable", either=DisableService,
        answer=answers.ServiceChanged,
    ),
    Route(
        "PUT", "/services/force_down", services.force_down, rule="zun-service:force_down", either=ForceDownService,
        answer=answers.ServiceChanged,
    ),
    Route(
        "GET", "/availability_zones", availability_zones.list_all, rule="availability_zones:get_all",
        answer=answers.ZoneList,
    ),
)  # fmt: skip

QUOTAS = (
    Route("GET", "/quotas/{project}", quotas.show, rule="quota:get", answer=LimitsAnswer),
    Route("PUT", "/quotas/{project}", quotas.update, rule="quota:update", either=SetLimits, answer=LimitsAnswer),
    Route("DELETE", "/quotas/{project}", quotas.delete, rule="quota:delete"),
    Route("GET", "/quotas/{project}/defaults", quotas.show_defaults, rule="quota:get_default", answer=LimitsAnswer),
    Route("GET", "/quota_classes/{name}", quotas.show_class, rule="quota_class:get", answer=LimitsAnswer),
    Route(
        "PUT", "/quota_classes/{name}", quotas.update_class, rule="quota_class:update", either=SetLimits,
        answer=LimitsAnswer,
    ),
)  # fmt: skip

_REGISTRY = "/registries/{registry}"
REGISTRIES = (
    Route("GET", "/registries", registries.list_all, rule="registry:get_all", answer=RegistryList),
    Route(
        "POST", "/registries", registries.create, 201, ALL, "registry:create", None, CreateRegistry, None,
        RegistryAnswer,
    ),
    Route("GET", _REGISTRY, registries.show, rule="registry:get_one", answer=RegistryAnswer),
    Route("PATCH", _REGISTRY, registries.update, rule="registry:update", body=UpdateRegistry, answer=RegistryAnswer),
    Route("DELETE", _REGISTRY, registries.delete, 204, rule="registry:delete"),
)  # fmt: skip

NETWORKS = (
    Route("GET", "/networks", networks.list_all, rule="network:get_all", answer=NetworkList),
    Route(
        "POST", "/networks", networks.create, 200, ALL, "network:create_own", None, CreateNetwork, None, NetworkEntry
    ),
    Route("GET", "/networks/{network}", networks.show, rule="network:get_one", answer=NetworkEntry),
    Route("DELETE", "/networks/{network}", networks.delete, 204, Versions(27), "network:delete_own"),
    Route("GET", "/ports", networks.list_ports, rule="port:get_all", answer=PortList),
    Route("POST", "/ports", networks.create_port, 200, ALL, "port:create", None, CreatePort, None, PortEntry),
    Route("DELETE", "/ports/{port}", networks.delete_port, 204, ALL, "port:delete"),
)

VOLUMES = (
    Route("GET", "/volumes", volumes.list_all, rule="volume:get_all", answer=VolumeList),
    Route("POST", "/volumes", volumes.create, 200, ALL, "volume:create", None, CreateVolume, None, VolumeEntry),
    Route("GET", "/volumes/{volume}", volumes.show, rule="volume:get_one", answer=VolumeEntry),
    Route(
        "PATCH", "/volumes/{volume}", volumes.resize, 200, ALL, "volume:update", None, ResizeVolume, None, VolumeEntry
    ),
    Route("DELETE", "/volumes/{volume}", volumes.delete, 202, ALL, "volume:delete"),
)

SECURITY_GROUPS = (
    Route("GET", "/security_groups", security_groups.list_all, rule="security_group:get_all", answer=GroupList),
    Route(
        "POST", "/security_groups", security_groups.create, rule="security_group:create", body=CreateGroup,
        answer=GroupEntry,
    ),
    Route(
        "GET", "/security_groups/{group}", security_groups.show, rule="security_group:get_one", answer=GroupEntry
    ),
    Route("DELETE", "/security_groups/{group}", security_groups.delete, 204, rule="security_group:delete"),
    Route(
        "POST", "/security_groups/{group}/rules", security_groups.add_rule, rule="security_group:add_rule",
        body=CreateRule, answer=RuleEntry,
    ),
    Route(
        "DELETE", "/security_group_rules/{rule}", security_groups.delete_rule, 204, rule="security_group:delete_rule"
    ),
)  # fmt: skip

ROUTES: tuple[Route, ...] = (
    *DOCUMENTS,
    *CONTAINERS,
    *OPERATIONS,
    *CAPSULES,
    *IMAGES,
    *OWN_IMAGES,
    *NODES,
    *QUOTAS,
    *REGISTRIES,
    *NETWORKS,
    *VOLUMES,
    *SECURITY_GROUPS,
)
