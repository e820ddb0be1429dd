"""What zun-tempest-plugin finds: a server, an administrator, and a user with a project of their own."""

from collections.abc import Iterator

import pytest

from tests.support.asking import User, admin_of, with_account
from tests.support.images import busybox_layer, configuration, oci_members, write_archive
from tests.support.server import Server, serving


@pytest.fixture(scope="module")
def cloud() -> Iterator[Server]:
    """A server whose networks have both kinds of addresses, with an image that serves a page as nginx does."""
    with serving(ipv6=True) as server:
        layers = [busybox_layer()]
        page = configuration(layers, Cmd=["httpd", "-f", "-p", "80", "-h", "/var/www"])
        archive = write_archive(server.directory / "web.tar", oci_members("web:latest", layers, page))
        server.operator("node", "import", archive, *server.options)
        yield server


@pytest.fixture(scope="module")
def primary(cloud: Server) -> User:
    """The user that the tests are."""
    return with_account(cloud, "tempest")


@pytest.fixture(scope="module")
def admin(cloud: Server) -> User:
    """The administrator, who has another project."""
    return admin_of(cloud)
