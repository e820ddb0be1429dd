"""Images that projects make of their containers."""

from dataclasses import dataclass

from krater.api.commands.workloads import Asking, find_ready
from krater.errors import NotFound, OverQuota, Unavailable
from krater.model.image import own_name
from krater.store.interfaces import APART, Action, OwnImage, Scope, Tx

GIVEN_UP = "The image was deleted before it was made."


@dataclass(frozen=True, slots=True)
class Name:
    """What a new image is called."""

    repo: str
    tag: str


def commit(tx: Tx, asking: Asking, ident: str, id: str, name: Name, most: int) -> OwnImage:
    """Wish for an image of a container. The node makes it, however often that is interrupted."""
    subject = find_ready(tx, asking, ident, "commit")
    node, project = subject.node, subject.workload.project_id
    if node is None or not asking.nodes.is_alive(node, asking.at):
        raise Unavailable(
            "The node of this container does not answer now. What runs there goes on running; try again later.",
            code="container-host-not-up",
        )
    if tx.own_images.count(project) >= most:
        raise OverQuota(f"Quota exceeded for images: a project can have {most}. Delete those that are not needed.")
    image = OwnImage(
        id=id,
        project_id=project,
        user_id=asking.caller.user_id,
        repo=name.repo,
        tag=name.tag,
        node=node,
        stored=own_name(project, id),
        source=subject.id,
        request_id=asking.request_id,
        created_at=asking.at,
    )
    tx.actions.start(
        Action(
            workload=subject.id,
            action="commit",
            request_id=asking.request_id,
            user_id=asking.caller.user_id,
            project_id=project,
            generation=APART,
            start_time=asking.at,
        )
    )
    return tx.own_images.add(image)


def find(tx: Tx, scope: Scope, ident: str, name: Name | None) -> OwnImage:
    """By id, else by name (which some texts cannot be). NotFound."""
    try:
        return tx.own_images.get(scope, ident)
    except NotFound:
        if name is None:
            raise
        return tx.own_images.named(scope, name.repo, name.tag)


def delete(tx: Tx, asking: Asking, scope: Scope, ident: str, name: Name | None) -> OwnImage:
    """Forget it. Containers that were made of it go on; if it was still being made, that ends."""
    image = find(tx, scope, ident, name)
    if image.image_id is None:
        tx.actions.finish_request(image.source, image.request_id, GIVEN_UP, asking.at)
    tx.own_images.delete(scope, image.id)
    return image
