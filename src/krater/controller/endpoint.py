"""What the controller answers on the bus: to the API that something changed, to the nodes all the rest."""

from collections.abc import Callable, Sequence

from krater.bus.interfaces import Bus, Handler, node_target
from krater.bus.messages import (
    Announce,
    FetchFiles,
    GroupsChanged,
    ImageTask,
    Pull,
    PullAnswer,
    SendImages,
    SendReports,
    SendVolumes,
    WorkloadChanged,
)
from krater.clock import Now
from krater.controller.guarding import assignments_of, rules_for
from krater.controller.nodes import Nodes
from krater.controller.reports import fold
from krater.controller.volumes import VolumeEndpoint, discards
from krater.errors import Invalid
from krater.model.assignment import NodeImage
from krater.model.image import DEFAULT_DOMAIN, DEFAULT_TAG, is_own, parse_image
from krater.store.interfaces import Image, OwnImage, Store, Tx, Workload


class Endpoint:
    """One method a message."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        nodes: Nodes,
        now: Now,
        wake: Callable[[str], None],
        default_domain: str = DEFAULT_DOMAIN,
    ) -> None:
        self._default_domain = default_domain
        self._store = store
        self._bus = bus
        self._nodes = nodes
        self._now = now
        self._wake = wake
        self._volumes = VolumeEndpoint(store)

    @property
    def handlers(self) -> dict[type, Handler]:
        """For `bus.serve`."""
        return {
            WorkloadChanged: self.workload_changed,
            GroupsChanged: self.groups_changed,
            Announce: self._nodes.announce,
            Pull: self.pull,
            SendReports: self.send_reports,
            SendImages: self.send_images,
            SendVolumes: self._volumes.send_volumes,
            FetchFiles: self._volumes.fetch_files,
        }

    async def workload_changed(self, message: WorkloadChanged) -> None:
        """The API stored a new intent."""
        self._wake(message.workload)

    async def groups_changed(self, message: GroupsChanged) -> None:
        """The API changed rules: tell the nodes that keep them."""
        nodes = await self._store.read(lambda tx: tx.security_groups.nodes(message.groups))
        for node in sorted(nodes):
            self._bus.hint(node_target(node), message)

    async def pull(self, message: Pull) -> PullAnswer:
        """What a node should do, as stored at this moment."""

        def look(tx: Tx) -> PullAnswer:
            complete = message.workloads is None
            found = tx.workloads.on_node(message.node) if complete else tx.workloads.by_ids(message.workloads or ())
            here = [workload for workload in found if workload.placement.node == message.node]
            told = assignments_of(tx, here, _domains(tx, here), self._default_domain)
            return PullAnswer(
                complete,
                told,
                images=_image_tasks(tx, message.node) if complete else (),
                discards=discards(tx, message.node) if complete else (),
                groups=tuple(rules_for(tx, message.node, told, message.groups)),
            )

        return await self._store.read(look)

    async def send_reports(self, message: SendReports) -> None:
        """Answered when it is stored: a node forgets what it reported only then."""
        at = self._now()
        folded = await self._store.write(lambda tx: fold(tx, message.node, message.reports, at))
        for id in folded.wake:
            self._wake(id)

    async def send_images(self, message: SendImages) -> None:
        """Store what images a node has, and why it has not those it was asked to have."""
        images = [(*found, image) for image in message.images if (found := repo_and_tag(image)) is not None]
        own = {image.name: image for image in message.images if is_own(image.name)}
        failures, at = dict(message.failures), self._now()

        def fold_images(tx: Tx) -> None:
            tx.images.observe(message.node, images, failures, at)
            for ended in tx.own_images.observe(message.node, own, failures):
                tx.actions.finish_request(ended.image.source, ended.image.request_id, ended.error, at)

        await self._store.write(fold_images)


def _domains(tx: Tx, workloads: Sequence[Workload]) -> dict[str, str]:
    """Of the registries that these come from."""
    ids = [c.registry for w in workloads for c in w.spec.containers if c.registry is not None]
    return {id: registry.domain for id, registry in tx.registries.by_ids(ids).items()}


def repo_and_tag(image: NodeImage) -> tuple[str, str] | None:
    """How the API names a node's image. One without a tag has its digest there; foreign names are passed over, and so
    are those of projects, which are nobody else's business."""
    if is_own(image.name):
        return None
    try:
        ref = parse_image(image.name)
    except Invalid:
        return None
    return ref.familiar, ref.tag or ref.digest or DEFAULT_TAG


def image_tasks(images: Sequence[Image]) -> tuple[ImageTask, ...]:
    """What a node should do about its images: have those that were asked for, lose those that should go."""
    return tuple(
        ImageTask(image.id, image_name(image), wanted=not image.removing)
        for image in images
        if image.removing or (image.wanted and image.failure is None)
    )


def _image_tasks(tx: Tx, node: str) -> tuple[ImageTask, ...]:
    return (*image_tasks(tx.images.on_node(node)), *own_image_tasks(tx.own_images.on_node(node)))


def own_image_tasks(images: Sequence[OwnImage]) -> tuple[ImageTask, ...]:
    """The images of projects that a node should have, and of what to make those that it never had."""
    return tuple(
        ImageTask(image.id, image.stored, wanted=True, source="" if image.image_id is not None else image.source)
        for image in images
    )


def image_name(image: Image) -> str:
    """The full name of a stored image, the inverse of `repo_and_tag`."""
    joint = "@" if ":" in image.tag else ":"
    return parse_image(f"{image.repo}{joint}{image.tag}").canonical
