"""The examples of `examples/capsules`, as their README runs them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import running
from tests.support.live_capsules import Capsule, clear
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

EXAMPLES = Path(__file__).parents[2] / "examples" / "capsules"


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater with nothing but the image `busybox`."""
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_left(own: Server) -> Iterator[None]:
    """Every example can be removed with nothing left of it."""
    yield
    clear(own)


def created(server: Server, file: str) -> Capsule:
    """As the README does it; the command has waited until it runs."""
    assert server.krater("capsule", "lint", str(EXAMPLES / file)).returncode == 0
    said = server.krater("capsule", "create", "-f", str(EXAMPLES / file)).stdout
    return Capsule(server, said.strip())


def page(server: Server, visitor: str, url: str) -> str:
    """What a container elsewhere on the network gets; the server may need a moment after its start."""
    found: list[str] = []

    def answers() -> bool:
        done = server.client().containers.execute(visitor, ["wget", "-q", "-O", "-", url])
        found[:] = [done["output"] or ""]
        return done["exit_code"] == 0

    eventually(answers, what=f"{url} answering")
    return found[0]


def test_a_web_server_with_a_sidecar_for_its_log(own: Server) -> None:
    web, visitor = created(own, "web.yaml"), running(own)
    assert page(own, visitor, f"http://{web.address()}:8080/") == "<h1>Hello from a capsule</h1>\n"
    web.has("server", ready=True)
    eventually(lambda: "/index.html" in web.log("log") or "url:/" in web.log("log"), what="the visit in the log")
    assert web.log("server") == ""
    eventually(lambda: re.search(r"^log +.*url:/", own.krater("capsule", "logs", "web").stdout, re.M), what="both logs")
    assert own.krater("capsule", "rm", "-f", "web").stdout == "web\n"
    assert web.ask().status == 404


def test_an_application_whose_database_keeps_its_data(own: Server) -> None:
    own.krater("volume", "create", "shop-data", "--size", "1")
    shop, visitor = created(own, "database.yaml"), running(own)
    url = f"http://{shop.address()}:8080/cgi-bin/visit"
    assert [page(own, visitor, url) for _ in range(2)] == ["You are visitor 1\n", "You are visitor 2\n"]
    told = shop.when("database", "the database is up"), shop.when("app", "the application is up")
    assert told == tuple(sorted(told))
    refused = own.client().containers.execute(visitor, ["nc", "-w", "1", shop.address(), "5432"])
    assert refused["exit_code"] != 0, "the database listens within the capsule alone"
    assert "visits" in own.krater("exec", "shop/database", "ls", "/data").stdout
    own.krater("capsule", "rm", "-f", "shop")
    again = created(own, "database.yaml")
    assert page(own, visitor, f"http://{again.address()}:8080/cgi-bin/visit") == "You are visitor 3\n"


def test_the_capsule_of_the_projects_readme(own: Server, tmp_path: Path) -> None:
    [template] = re.findall(r"^```yaml\n(.*?)^```", (EXAMPLES.parents[1] / "README.md").read_text(), re.M | re.S)
    (tmp_path / "site.yaml").write_text(template)
    own.krater("capsule", "create", "-f", str(tmp_path / "site.yaml"))
    site, visitor = Capsule(own, own.client().capsules.find("site")["uuid"]), running(own)
    site.has("web", ready=True)
    assert page(own, visitor, f"http://{site.address()}/") == "hello\n"
    assert site.address() in own.krater("capsule", "show", "site").stdout
    assert own.krater("exec", "site/web", "cat", "/www/index.html").stdout == "hello\n"


def test_a_batch_in_steps(own: Server) -> None:
    batch = created(own, "batch.yaml")
    batch.ends_up("Stopped")
    assert batch.log("total") == "total: 500500\n"
    said = own.krater("capsule", "logs", "batch").stdout
    lines = [line.split(maxsplit=1)[1].lstrip("| ") for line in said.splitlines()]
    assert lines[:2] == ["fetched 1000 numbers", "all are numbers"]
    assert sorted(lines[2:4]) == ["even: 250500", "odd: 250000"]
    assert lines[4:] == ["total: 500500"]
    assert own.krater("capsule", "rm", "batch").stdout == "batch\n"
    assert own.client().volumes.list() == []


def test_a_pod_of_kubernetes(own: Server) -> None:
    file, visitor = str(EXAMPLES / "pod.yaml"), running(own)
    played = own.krater("kube", "play", file)
    assert "nodeSelector: left out" in played.stderr
    assert len(played.stderr.strip().splitlines()) == 1
    pod = Capsule(own, played.stdout.strip())
    assert page(own, visitor, f"http://{pod.address()}:8080/") == "<h1>Hello from a Pod</h1>\n"
    pod.has("web", ready=True)
    assert re.search(r"\d\d:\d\d:\d\d", pod.log("clock"))
    assert own.krater("kube", "down", file).stdout == "pod\n"
    assert pod.ask().status == 404


def test_the_readme_has_every_example_and_every_command_that_is_tested() -> None:
    text = (EXAMPLES / "README.md").read_text()
    for file in EXAMPLES.glob("*.yaml"):
        assert file.name in text
    for command in ("capsule create -f", "capsule logs", "capsule rm -f", "volume create shop-data", "kube play"):
        assert f"krater {command}" in text
