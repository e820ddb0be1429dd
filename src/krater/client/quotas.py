"""How much projects may have."""

from typing import cast

from krater.client.answers import Limits, LimitsInUse
from krater.client.session import Session, segment


class Quotas:
    """Limits of projects: containers, memory (MiB), cpu (cores), disk (GiB). -1 is without limit."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def show(self, project: str) -> Limits:
        """What a project may have. Your own may be called by its name, others by their id."""
        return cast(Limits, self._session.get(_path(project)))

    def usages(self, project: str) -> LimitsInUse:
        """The same, with what it has."""
        return cast(LimitsInUse, self._session.get(_path(project), {"usages": "true"}))

    def defaults(self, project: str) -> Limits:
        """What it may have if nothing was said of it."""
        return cast(Limits, self._session.get(_path(project) + "/defaults"))

    def update(self, project: str, **limits: int) -> Limits:
        """Other limits. Administrators only."""
        return cast(Limits, self._session.ask("PUT", _path(project), body=limits))

    def delete(self, project: str) -> None:
        """Back to the defaults. Administrators only."""
        self._session.ask("DELETE", _path(project))


class QuotaClasses:
    """Limits of classes. All projects are in the class `default`. Administrators only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def show(self, name: str = "default") -> Limits:
        """One."""
        return cast(Limits, self._session.get("/v1/quota_classes/" + segment(name)))

    def update(self, name: str = "default", **limits: int) -> Limits:
        """Other limits."""
        return cast(Limits, self._session.ask("PUT", "/v1/quota_classes/" + segment(name), body=limits))


def _path(project: str) -> str:
    return "/v1/quotas/" + segment(project)
