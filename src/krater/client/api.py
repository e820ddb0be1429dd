"""The way in: `Client`."""

from types import TracebackType
from typing import Self

from krater.client.access import Access, find_access
from krater.client.answers import Versions
from krater.client.archives import Archives
from krater.client.capsules import Capsules
from krater.client.containers import Containers
from krater.client.errors import BadAnswer
from krater.client.images import Images
from krater.client.networks import Networks, Ports
from krater.client.nodes import Hosts, Services, Zones
from krater.client.own_images import OwnImages
from krater.client.quotas import QuotaClasses, Quotas
from krater.client.registries import Registries
from krater.client.security_groups import SecurityGroups
from krater.client.session import Session
from krater.client.transport import Transport
from krater.client.volumes import Volumes


class Client:
    """Krater's API for programs. Synchronous, one connection, for one thread at a time.

        with Client("http://127.0.0.1:9517", "admin", "secret") as krater:
            made = krater.containers.run(image="alpine", command=["date"])
            ended = krater.containers.wait(made["uuid"], until_ended=True)
            print(krater.containers.logs(made["uuid"]))

    `token` is an X-Auth-Token to use instead of a name and password; `project` (id or name) chooses one of the
    caller's projects; `cacert` is a file of certificates to trust; `timeout` is how many seconds an answer may take.
    """

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        project: str | None = None,
        *,
        token: str | None = None,
        cacert: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        access = Access(url, username, password, token, project, cacert)
        self.access = access
        self._transport = Transport(url, cacert=cacert, timeout=timeout)
        session = Session(self._transport, access)
        self._session = session
        self.containers = Containers(session)
        self.capsules = Capsules(session)
        self.archives = Archives(session)
        self.images = Images(session)
        self.own_images = OwnImages(session)
        self.networks = Networks(session)
        self.ports = Ports(session)
        self.registries = Registries(session)
        self.quotas = Quotas(session)
        self.quota_classes = QuotaClasses(session)
        self.security_groups = SecurityGroups(session)
        self.volumes = Volumes(session)
        self.hosts = Hosts(session)
        self.services = Services(session)
        self.availability_zones = Zones(session)

    @classmethod
    def from_access(cls, access: Access, *, timeout: float = 60.0) -> Self:
        """A client for what `find_access` found."""
        client = cls(
            access.url,
            access.username,
            access.password,
            access.project,
            token=access.token,
            cacert=access.cacert,
            timeout=timeout,
        )
        client.access = access
        return client

    @classmethod
    def from_environment(cls, *, timeout: float = 60.0) -> Self:
        """A client for what the environment or the client file says; see `find_access`."""
        return cls.from_access(find_access(), timeout=timeout)

    def version(self) -> Versions:
        """The API versions the server speaks. Needs no credentials."""
        document = self._session.get("/")
        try:
            current: Versions = next(v for v in document["versions"] if v["status"] == "CURRENT")
        except (KeyError, TypeError, StopIteration):
            raise BadAnswer(f"What answers at {self.access.url} is not Krater.") from None
        return current

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
