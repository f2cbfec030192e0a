"""Fixtures for every distance. Servers are started outside, or for each process of ``-n``; tests take hold of them."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from processes import Process, manage
from settings.base import SCRATCH

TOP = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory that the settings name for databases and spools."""
    SCRATCH.mkdir(exist_ok=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it again."""
    shutil.rmtree(SCRATCH, ignore_errors=True)


def load_stack() -> ModuleType:
    """deploy/stack.py, which belongs to no package."""
    if "footfall_stack" in sys.modules:
        return sys.modules["footfall_stack"]
    spec = importlib.util.spec_from_file_location("footfall_stack", TOP / "deploy" / "stack.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["footfall_stack"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def stack_directory() -> str:
    """Where the running stack keeps its state. A test that needs it fails without one: nothing is skipped."""
    directory = os.environ.get("FOOTFALL_STACK_DIR")
    assert directory, "No servers: run this with -n 2, or through `python deploy/stack.py run -- …`."
    return directory


@pytest.fixture(scope="session")
def rabbitmq(stack_directory: str) -> Any:
    """The running RabbitMQ: url, ctl(*args), kill(), start(), stop()."""
    return load_stack().RabbitMQ(stack_directory)


@pytest.fixture(scope="session")
def postgresql(stack_directory: str) -> Any:
    """The running PostgreSQL: dsn, sql(), kill(), start(), stop(), restart("immediate")."""
    return load_stack().PostgreSQL(stack_directory)


@pytest.fixture(autouse=True)
def spool_directory(settings: Any, tmp_path: Path) -> Path:
    """A spool of its own for every test."""
    directory = tmp_path / "spool"
    settings.FOOTFALL = {**settings.FOOTFALL, "SPOOL_DIR": str(directory)}
    return directory


@pytest.fixture
def processes(spool_directory: Path, tmp_path: Path, transactional_db: None) -> Iterator[Callable[..., Process]]:
    """Start `manage.py` commands as real processes on the test's database and spool; they end with the test."""
    started: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        process = manage(arguments, tmp_path, spool_directory, environment)
        started.append(process)
        return process

    yield start
    try:
        for process in started:
            process.end()
    finally:  # whoever interrupts a run with -n interrupts this, too
        for process in started:
            if process.is_running():
                process.kill_all()
