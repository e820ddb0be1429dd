"""The consoles of the unmodified `zun` and `openstack` commands, at a terminal."""

import time

import pytest

from tests.support.containers import ends_up, running
from tests.support.screen import Screen
from tests.support.server import CLIENTS, Server

pytestmark = pytest.mark.live

SHELL = ["sh"]
TERMINAL = {"interactive": True, "tty": True}


def zun(server: Server, *words: str) -> Screen:
    return Screen([str(CLIENTS / "zun"), *words], {**server.environment, **server.openrc()})


def openstack(server: Server, *words: str) -> Screen:
    extra = {"OS_CLIENT_CONFIG_FILE": str(server.directory / "clouds.yaml"), "OS_CLOUD": "krater"}
    return Screen([str(CLIENTS / "openstack"), "appcontainer", *words], {**server.environment, **extra})


@pytest.mark.parametrize("client", [zun, openstack])
def test_zuns_clients_attach(server: Server, client: type) -> None:
    container = running(server, SHELL, **TERMINAL)
    screen = client(server, "attach", container)
    screen.until("press Enter")
    screen.type("\r")
    screen.until("# ")
    screen.type("echo héllo-$((40+2)); stty size\r")
    screen.until("héllo-42")
    screen.until(r"24 80\s")
    screen.type("exit\r")
    assert screen.ended() == 0
    ends_up(server, container, "Stopped")


@pytest.mark.parametrize("client", [zun, openstack])
def test_zuns_clients_exec(server: Server, client: type) -> None:
    container = running(server)
    screen = client(server, "exec", "--interactive", container, "sh")
    screen.until("press Enter")
    screen.type("\r")
    screen.until("# ")
    screen.resize(30, 90)
    time.sleep(1)
    screen.type("stty size; echo $((40+2))\r")
    screen.until(r"30 90\s")
    screen.until("42")
    screen.type("exit\r")
    assert screen.ended() == 0
    ends_up(server, container, "Running")


def test_zun_runs_interactively(server: Server) -> None:
    screen = zun(server, "run", "-i", "--name", "zun-inter", "--cpu", "0.1", "--memory", "32", "busybox", "sh")
    screen.until("press Enter")
    screen.until("# ")
    screen.type("echo $((40+2))\r")
    screen.until("42")
    screen.type("exit\r")
    assert screen.ended() == 0
    ends_up(server, "zun-inter", "Stopped")
