"""Commands about several things: one that fails is told, and keeps the others from nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from krater.cli.connection import access_of
from krater.cli.failures import FAILED, complain, report
from krater.client import ApiError, NotAuthenticated


class Several:
    """How such a command ends: `code` is its exit code."""

    def __init__(self) -> None:
        self.code = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """What is done for one of them. Who may not come in at all need not try the others."""
        try:
            yield
        except NotAuthenticated:
            raise
        except ApiError as error:
            report(error, access_of(click.get_current_context()))
            self.code = FAILED

    def fails(self, text: str) -> None:
        """Tell that one of them did not come to what was wanted."""
        complain(text)
        self.code = FAILED
