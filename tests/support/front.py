"""What stands before the API and bounds its connections, with nothing behind it: all it has to say is 204."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from krater.api.connections import PATIENCE, BoundedConnection


@asynccontextmanager
async def listening(patient_with: str = "") -> AsyncIterator[int]:
    """The port it listens on. It is patient with one method, which may take its time while something comes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == patient_with:
            scope["extensions"][PATIENCE]["allow"]()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = uvicorn.Config(app, http=BoundedConnection, lifespan="off", log_config=None)
    config.load()
    loop, state = asyncio.get_running_loop(), uvicorn.Server(config).server_state
    server = await loop.create_server(lambda: BoundedConnection(config, state, {}), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
