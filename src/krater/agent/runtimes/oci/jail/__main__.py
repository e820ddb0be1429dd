"""One archive from beginning to end; see the package."""

import base64
import codecs
import errno
import gc
import json
import os
import signal
import socket
import sys
from typing import Any

from krater.agent.runtimes.oci.jail import confining, entering, packing, unpacking
from krater.agent.runtimes.oci.jail.frames import (
    END,
    ENTERED,
    FAILED,
    ORDER,
    SETUP,
    Abandoned,
    Incoming,
    Line,
    Pieces,
    Refused,
)

_MOST_DESCRIPTORS = 200


def main() -> None:
    """Enter, confine, then do what is ordered."""
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(1, 0)
    line = Line(connection)
    try:
        _set_up(connection, line)
        line.send(ENTERED)
        kind, order = line.receive()
        if kind != ORDER:
            return
        _obey(line, json.loads(order))
    except Abandoned:
        return
    except Refused as refusal:
        _say(line, refusal.kind, refusal.message)
    except MemoryError:
        gc.collect()
        _say(line, "invalid", "The archive needs more memory than there is for it.")
    except RecursionError:
        _say(line, "invalid", "The archive is nested too deeply.")
    except OSError as error:
        _say(line, *_explained(error))
    except Exception as error:
        _say(line, "failed", f"{type(error).__name__}: {error}"[:500])


def _say(line: Line, kind: str, message: str) -> None:
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    try:
        line.send(FAILED, json.dumps({"kind": kind, "message": message[:2000]}).encode())
        line.discard()
    except (Abandoned, OSError):
        return


def _explained(error: OSError) -> tuple[str, str]:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "full", "There is no room left for the files."
        case errno.EFBIG:
            return "too-large", "A file is larger than what may be copied at once."
        case errno.EROFS:
            return "conflict", "The files of the container are read-only there."
        case _:
            return "failed", f"{error.strerror} ({error.filename})"


def _set_up(connection: socket.socket, line: Line) -> None:
    """Everything that needs powers, said by the agent alone."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, _MOST_DESCRIPTORS)
    kind, text = line.receive()
    if kind != SETUP:
        raise Abandoned
    setup: dict[str, Any] = json.loads(text)
    lifeline, root, *mounts = descriptors
    confining.end_with(lifeline)
    _import_no_more()
    if setup["joins"]:
        entering.join(root)
    else:
        entering.make(root, list(zip(setup["destinations"], mounts, strict=True)))
    confining.confine(setup["limit"], base64.b64decode(setup["filter"]))


def _import_no_more() -> None:
    """What Python would import late, it would import from the container."""
    for encoding in ("utf-8", "ascii", "iso8859-1"):
        codecs.lookup(encoding)
    for places in (sys.path, sys.meta_path, sys.path_hooks):
        places.clear()


def _obey(line: Line, order: dict[str, Any]) -> None:
    path, limit = str(order["path"]), int(order["limit"])
    if order["unpacks"]:
        unpacking.unpack(path, Incoming(line, limit), line, limit)
    else:
        pieces = Pieces(line, limit)
        packing.pack(path, pieces, line)
        pieces.flush()
    line.send(END)


if __name__ == "__main__":
    main()
