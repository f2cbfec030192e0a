"""The wheel, installed into an empty environment, is a whole Footfall and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]

SITE = """
import os, sys
from pathlib import Path
import django
from django.conf import settings
here = Path(os.environ["SITE_DIR"])
settings.configure(
    BASE_DIR=here, SECRET_KEY="x", ROOT_URLCONF="django.contrib.auth.urls", USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.admin",
        "django.contrib.messages", "django.contrib.sessions", "django_dramatiq",
        "footfall.producers", "footfall.storage", "footfall.workers", "footfall.spiders"],
    MIDDLEWARE=["footfall.producers.middleware.ScopeMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"]}}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": here / "db.sqlite3", "OPTIONS": {
        "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}}},
    DRAMATIQ_BROKER={"BROKER": "footfall.workers.embedded.EmbeddedBroker", "OPTIONS": {}, "MIDDLEWARE": []},
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("makemigrations", "--check", "footfall_storage", "footfall_spiders")
call_command("check", "--fail-level", "WARNING")
call_command("loaddata", "spiders", verbosity=0)

import footfall.producers, footfall.storage, footfall.workers, footfall.spiders
from django.contrib.auth.models import User
from footfall.producers import publish_action, publish_labels, publish_view
from footfall.storage.models import Action, Statistic, ViewMark
from footfall.workers.testing import drain
user = User.objects.create(username="reader")
publish_view(user, user)
publish_labels("a:b:c")
publish_action(user, "joined")
drain()
print(ViewMark.objects.count(), Statistic.objects.count(), Action.objects.count())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    # The checkout's own build/ may hold modules that it no longer has.
    elsewhere = directory / "setup.cfg"
    elsewhere.write_text(f"[build]\nbuild_base = {directory / 'build'}\n")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(directory), str(TOP)],
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "DIST_EXTRA_CONFIG": str(elsewhere)},
    )
    (built,) = directory.glob("*.whl")
    return built


def test_only_footfall_lies_at_the_top(wheel: Path) -> None:
    """Nothing else of ours lands in site-packages, and each room tells type checkers that it is typed."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"footfall"}
    for room in ("producers", "workers", "storage", "spiders"):
        assert f"footfall/{room}/py.typed" in names
    assert "footfall/producers/message.schema.json" in names
    assert "footfall/spiders/fixtures/spiders.json" in names


def test_an_empty_environment_imports_migrates_checks_and_publishes(wheel: Path, tmp_path: Path) -> None:
    """With what the wheel asks for, and nothing of this checkout in sight."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    install = [str(python), "-m", "pip", "install", "--quiet", f"footfall[spiders] @ {wheel.as_uri()}"]
    subprocess.run(install, check=True, timeout=400)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON", "FOOTFALL"))}

    done = subprocess.run(
        [str(python), "-I", "-W", "error::DeprecationWarning:footfall", "-c", SITE],
        env={**plain, "SITE_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 1 1"
