"""The embedded transport on SQLite: no server."""

import os

from settings.base import *  # noqa: F403 - a settings module takes over all of its base
from settings.base import BASE_DIR, FOOTFALL

_OPTIONS = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("FOOTFALL_TEST_SQLITE", str(BASE_DIR / "newsroom.sqlite3")),
        "OPTIONS": {**_OPTIONS, "timeout": 20},
        "TEST": {"NAME": os.environ.get("FOOTFALL_TEST_SQLITE")},
    }
}
FOOTFALL = {**FOOTFALL, "TRANSPORT": "embedded", "SPOOL_DIR": os.environ.get("FOOTFALL_SPOOL_DIR", FOOTFALL["SPOOL_DIR"])}
DRAMATIQ_BROKER = {"BROKER": "footfall.workers.embedded.EmbeddedBroker", "OPTIONS": {}, "MIDDLEWARE": []}
