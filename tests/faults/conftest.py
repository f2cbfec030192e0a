"""The servers that this suite kills: a stack of its own, not the one that the other tests share."""

from collections.abc import Iterator

import pytest
from conftest import load_stack
from faults.demosite import DemoSite
from faults.servers import Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A RabbitMQ and a PostgreSQL that nobody else uses."""
    with Servers(load_stack()) as started:
        yield started


@pytest.fixture(scope="module")
def demo(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[DemoSite]:
    """The demo site of a test module, all its processes running."""
    servers.recover()
    name = request.module.__name__.rpartition(".")[2]
    with DemoSite(tmp_path_factory.mktemp(name), servers, name) as site:
        site.prepare()
        site.start()
        servers.let_settle()
        yield site
