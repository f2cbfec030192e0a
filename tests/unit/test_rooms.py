"""The rooms of the house: imports go one way, and nothing but `footfall` is at the top."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db.migrations.loader import MigrationLoader
from settings.base import SCRATCH

TOP = Path(__file__).resolve().parents[2]
ROOMS = ("producers", "spiders", "storage", "workers")
MAY_IMPORT: dict[str, set[str]] = {
    "producers": set(),
    "spiders": set(),
    "storage": {"producers"},
    "workers": {"producers", "spiders", "storage"},
}
GRAB_BAGS = {"common", "utils", "util", "helpers", "core", "misc"}


def modules(room: str) -> list[Path]:
    return [path for path in sorted((TOP / room).rglob("*.py")) if "__pycache__" not in path.parts]


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    """Producers know no other room, storage the producers only, spiders nothing; workers know them all."""
    assert modules(room)
    for path in modules(room):
        for name in imported(path):
            first, *rest = name.split(".")
            assert first not in ROOMS, f"{path} imports {name} past `footfall`"
            if first == "footfall" and rest:
                assert rest[0] in MAY_IMPORT[room] | {room}, f"{path} imports {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_the_tests_or_the_deployment(room: str) -> None:
    """What is installed stands alone."""
    for path in modules(room):
        assert not {name.split(".")[0] for name in imported(path)} & {"tests", "deploy", "newsroom", "settings", "wire"}


def test_only_footfall_is_importable() -> None:
    """`storage` and `workers` would be top-level modules in other people's sites."""
    code = (
        "import importlib.util as u\n"
        f"for room in {ROOMS!r}:\n"
        "    assert u.find_spec(room) is None, room\n"
        "    assert u.find_spec(f'footfall.{room}') is not None, room\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_messages_and_rules_need_no_settings() -> None:
    """A program that only reads or writes messages configures no site."""
    code = (
        "import footfall.producers.messages, footfall.producers.rules, footfall.producers.reasons\n"
        "import footfall.producers.schema as s; s.schema()\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_linked_and_typed(room: str) -> None:
    """A symlink in `.src/footfall` and a `py.typed`."""
    link = TOP / ".src" / "footfall" / room

    assert link.is_symlink() and link.resolve() == TOP / room
    assert (TOP / room / "py.typed").is_file() and (TOP / room / "__init__.py").is_file()


def test_no_module_is_a_grab_bag() -> None:
    """A module is named after the one thing that it holds."""
    for folder in (*ROOMS, "deploy", "tests"):
        for path in (TOP / folder).rglob("*"):
            assert path.stem not in GRAB_BAGS, path


@pytest.mark.parametrize("room", ROOMS)
def test_each_app_has_an_explicit_label(room: str) -> None:
    """`footfall_…`, so that no site's own app has it."""
    config = apps.get_app_config(f"footfall_{room}")

    assert config.name == f"footfall.{room}"
    assert vars(type(config))["label"] == f"footfall_{room}"


def test_migrations_refer_to_those_labels_only() -> None:
    """From the first one on."""
    loader = MigrationLoader(None)
    ours = {label: name for label, name in loader.disk_migrations if label.startswith("footfall")}

    assert ours.keys() >= {"footfall_storage", "footfall_spiders"}
    assert not {label for label, _ in loader.disk_migrations} & set(ROOMS)
    for room in ROOMS:
        for path in (TOP / room / "migrations").glob("0*.py"):
            assert f'"{room}.' not in path.read_text("utf-8") and f'("{room}",' not in path.read_text("utf-8")


def test_every_model_has_its_migration() -> None:
    """`makemigrations --check` finds nothing to write, in a process that knows no models of tests."""
    command = [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "settings.embedded", "FOOTFALL_SCRATCH": str(SCRATCH)}

    done = subprocess.run(command, cwd=TOP / "tests", env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes detected" in done.stdout


def test_no_table_has_a_foreign_key_to_the_user_in_the_database() -> None:
    """Users may live in another database."""
    for room in ROOMS:
        for model in apps.get_app_config(f"footfall_{room}").get_models():
            for field in model._meta.concrete_fields:
                assert not (field.remote_field and getattr(field, "db_constraint", False)), (
                    f"{model.__name__}.{field.name}"
                )
