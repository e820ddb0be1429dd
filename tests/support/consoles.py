"""A node's sessions and a gateway, joined over real sockets; only the engine is a fake."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from krater.agent.runtimes.fake import FakeEngineWorld, FakeRuntime
from krater.agent.streams import SOCKET, Streams
from krater.bus.messages import OpenExec
from krater.config import Settings
from krater.gateway.app import Gateway
from krater.model.frames import Opened
from krater.tickets import GATEWAY, Signer
from krater.wiring import gateway_socket
from tests.support.oci import config, until

SOON = 20.0
TYPED, BINARY, TEXT = Subprotocol("krater.v1"), Subprotocol("binary"), Subprotocol("base64")


class Joined:
    """A node with containers, a gateway, and tickets for it."""

    def __init__(self, directory: str, **settings: Any) -> None:
        chosen = Settings()
        self.settings = replace(chosen, gateway=replace(chosen.gateway, port=0, **settings))
        self.directory = directory
        self.signer = Signer(GATEWAY)
        self.world = FakeEngineWorld()
        self.world.images.add("busybox")
        self.engine = FakeRuntime(self.world)
        self.streams = Streams(self.engine, directory, 1000, str)
        self.gateway = Gateway(self.settings.gateway, self.signer.public_key, directory)
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Joined"]:
        """While it is there."""
        with gateway_socket(self.settings) as listener:
            self.port = listener.getsockname()[1]
            tasks = [asyncio.create_task(self.streams.run()), asyncio.create_task(self.gateway.run(listener))]
            await until(lambda: Path(self.directory, SOCKET).exists())
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def container(self, *command: str, **spec: Any) -> str:
        """A container that runs."""
        wanted = config(command or ("cat",), interactive=True, **spec)
        await self.engine.create(wanted)
        await self.engine.start(wanted.id, 1, 0, "/netns")
        return wanted.id

    def url(self, container: str, opened: Opened, kind: str = "attach", signer: Signer | None = None) -> str:
        """As the API makes it."""
        token = (signer or self.signer).issue(
            user="u", project="p", container=container, session=opened.session, kind=kind,
            address=opened.address, secret=opened.secret,
        )  # fmt: skip
        more = f"&exec_id={opened.session}" if kind == "exec" else ""
        return f"ws://127.0.0.1:{self.port}/?token={token}&uuid={container}{more}"

    def attach(self, container: str) -> str:
        """A URL to attach at."""
        return self.url(container, self.streams.open(container, None))

    def execute(self, container: str, *command: str, tty: bool = False) -> str:
        """A URL where a command waits."""
        return self.url(container, self.streams.open(container, OpenExec(container, command, tty)), "exec")


async def all_of(client: ClientConnection) -> list[bytes]:
    """Every message until the end."""
    found: list[bytes] = []
    async with asyncio.timeout(SOON):
        try:
            while True:
                message = await client.recv()
                found.append(message.encode() if isinstance(message, str) else message)
        except ConnectionClosed:
            return found


async def refused(url: str, **more: Any) -> int:
    """The HTTP status of the refusal."""
    with pytest.raises(InvalidStatus) as raised:
        async with connect(url, **more):
            pass
    return raised.value.response.status_code
