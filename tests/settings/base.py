"""Settings of the site that the tests run: a newsroom with integer, UUID and string primary keys."""

import os
import tempfile
from pathlib import Path
from typing import Any

#: What the tests write lies here; conftest.py makes it and removes it. A child process is told of it.
SCRATCH = Path(os.environ.get("FOOTFALL_SCRATCH", f"{tempfile.gettempdir()}/footfall-tests-{os.getpid()}"))

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
    "reversion",
    "footfall.producers",
    "footfall.storage",
    "footfall.workers",
    "footfall.spiders",
    "newsroom",
    "oldstats",
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
