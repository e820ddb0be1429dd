"""What every engine promises about images that need a login."""

from dataclasses import replace

import pytest

from krater.agent.runtimes.interfaces import Asker, Engine
from krater.errors import Permanent, Temporary
from krater.model.registry import Login
from krater.model.workload import PullPolicy
from tests.support.engines import Node
from tests.support.oci import config


def asker(project: str, login: Login | None = None) -> Asker:
    async def tell() -> Login | None:
        return login

    return Asker(project, tell)


async def test_an_image_got_with_a_login_is_for_those_who_have_shown_it(
    node: Node,
    engine: Engine,
) -> None:
    with node.private() as (name, login):
        wrong = replace(login, password="wrong")
        for stranger in (asker("ann"), asker("ann", wrong)):
            with pytest.raises(Permanent, match="does not give out"):
                await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, stranger)
        await engine.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, asker("ann", login))
        for policy in (PullPolicy.IF_NOT_PRESENT, PullPolicy.NEVER):
            await engine.ensure_image(name, policy, None, asker("ann"))
            with pytest.raises(Permanent):
                await engine.ensure_image(name, policy, None, asker("bob"))
        theirs = replace(config(image=name), project="bob")
        with pytest.raises(Temporary):
            await engine.create(theirs)
        again = await node.crashed(engine)
        with pytest.raises(Permanent):
            await again.ensure_image(name, PullPolicy.NEVER, None, asker("bob"))
        await again.ensure_image(name, PullPolicy.IF_NOT_PRESENT, None, asker("bob", login))
        await again.create(theirs)
