"""Wake and ask. The bus carries no state: whatever it loses, a resync finds again.

Adapters: `local` (in process); `oslo` (RabbitMQ) is to come. All pass `tests/contracts/test_bus.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

Answer = TypeVar("Answer")

CONTROLLER = "controller"


def node_target(node: str) -> str:
    """The address of a node's agent on the bus."""
    return f"node:{node}"


class Request(Generic[Answer]):
    """A message that expects an answer of a known type. Subclasses are frozen dataclasses in `messages.py`."""

    __slots__ = ()


Handler = Callable[[Any], Awaitable[Any]]


class Bus(Protocol):
    """One process's connection to the others."""

    async def call(self, target: str, request: Request[Answer], timeout: float) -> Answer:
        """Ask and wait. Unavailable when nobody serves `target` or `timeout` seconds pass; the work ends then too.

        Unsupported when `target` does not know such requests. An asker that goes away does not stop the work.

        A `KraterError` raised by the other side arrives as the same class with the same message; anything else
        arrives as Permanent without its text.
        """
        ...

    def hint(self, target: str, message: object) -> None:
        """Tell without waiting. May be lost; never fails and never blocks."""

    def serve(self, target: str, handlers: dict[type, Handler]) -> None:
        """Answer requests and take hints for `target`, by the type of the message."""

    async def close(self) -> None:
        """Stop serving; calls under way end with Unavailable."""
