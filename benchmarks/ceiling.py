"""The reference of `get` and `list`: the same answers from the same web server, with nothing behind them.

    python -m benchmarks.ceiling PORT FILE...

Answers /0, /1, ... with the bytes of the files: no authentication, no policy, no database, no encoding. What Krater is
slower than this is what its own work costs.
"""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application(bodies: list[bytes]) -> Starlette:
    """An application with one route for each body."""

    async def answer(request: Request) -> Response:
        return Response(bodies[request.path_params["number"]], media_type="application/json")

    return Starlette(routes=[Route("/{number:int}", answer)])


def main() -> None:
    """The command line."""
    port, *files = sys.argv[1:]
    bodies = [Path(name).read_bytes() for name in files]
    uvicorn.run(
        application(bodies), port=int(port), loop="uvloop", http="httptools", log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
