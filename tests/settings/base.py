"""Settings of the site that the tests run: a newsroom with integer, UUID and string primary keys."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def _scratch_directory() -> Path:
    """A directory for what the tests write, gone with the process that made it; a child process is told of it."""
    if "FOOTFALL_SCRATCH" in os.environ:
        return Path(os.environ["FOOTFALL_SCRATCH"])
    path = Path(tempfile.mkdtemp(prefix="footfall-tests-"))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(path, ignore_errors=True) if os.getpid() == owner else None)
    return path


SCRATCH = _scratch_directory()

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "newsroom.urls"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django_dramatiq",
    "footfall.producers",
    "footfall.storage",
    "footfall.workers",
    "footfall.spiders",
    "newsroom",
]
MIDDLEWARE = [
    "footfall.producers.middleware.ScopeMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

FOOTFALL: dict[str, Any] = {"SPOOL_DIR": os.environ.get("FOOTFALL_SPOOL_DIR", str(SCRATCH / "spool"))}
