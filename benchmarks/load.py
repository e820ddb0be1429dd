"""Load on the API: `wrk` where Debian has it, else a small generator of our own, in a process of its own either way.

python -m benchmarks.load URL CONNECTIONS SECONDS [HEADER: VALUE ...]
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.figures import percentile

HERE = Path(__file__).resolve().parent.parent

# wrk's own output rounds; this prints what it counted. Latencies are in microseconds.
SCRIPT = """
done = function(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('\\nRESULT {"requests": %d, "seconds": %f, "errors": %d, "p50": %f, "p95": %f}\\n',
    summary.requests, summary.duration / 1e6, bad, latency:percentile(50) / 1e6, latency:percentile(95) / 1e6))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator counted. Latencies in seconds."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p95: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def run(url: str, headers: dict[str, str], connections: int, seconds: float, wrk: str | None, place: Path) -> Load:
    """Ask for `url` over and over on some keep-alive connections."""
    words = [f"{name}: {value}" for name, value in headers.items()]
    if wrk is not None:
        script = place / "report.lua"
        script.write_text(SCRIPT)
        command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        command += [part for word in words for part in ("-H", word)] + [url]
    else:
        command = [sys.executable, "-m", "benchmarks.load", url, str(connections), str(seconds), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    return result(done.stdout)


def result(output: str) -> Load:
    """The line that either generator ends with."""
    found = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return Load(**json.loads(found.removeprefix("RESULT ")))


def body_length(head: bytes) -> int:
    """How long the body of an answer is. Answers must tell: nothing here is sent in chunks."""
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))


async def _one_connection(host: str, port: int, request: bytes, until: float, taken: list[float]) -> int:
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 22)
    errors = 0
    while (asked := time.monotonic()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(body_length(head))
        taken.append(time.monotonic() - asked)
        errors += not head.startswith(b"HTTP/1.1 2")
    writer.close()
    return errors


async def generate(url: str, connections: int, seconds: float, headers: list[str]) -> Load:
    """The generator of our own."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *headers]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    taken: list[float] = []
    begin = time.monotonic()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    workers = [_one_connection(host, port, request, begin + seconds, taken) for _ in range(connections)]
    errors = sum(await asyncio.gather(*workers))
    return Load(len(taken), time.monotonic() - begin, errors, percentile(taken, 0.5), percentile(taken, 0.95))


def main() -> None:
    """The command line."""
    import uvloop

    url, connections, seconds, *headers = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(generate(url, int(connections), float(seconds), headers))
    counted = {name: getattr(found, name) for name in ("requests", "seconds", "errors", "p50", "p95")}
    print(f"RESULT {json.dumps(counted)}")


if __name__ == "__main__":
    main()
