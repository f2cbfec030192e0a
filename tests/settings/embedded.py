"""The embedded transport on SQLite: no server."""

import os

from settings.base import *  # noqa: F403 - a settings module takes over all of its base
from settings.base import FOOTFALL, SCRATCH

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("FOOTFALL_SQLITE", str(SCRATCH / "newsroom.sqlite3")),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "timeout": 20,
        },
        "TEST": {"NAME": str(SCRATCH / "test.sqlite3")},
    }
}
FOOTFALL = {**FOOTFALL, "TRANSPORT": "embedded"}
DRAMATIQ_BROKER = {"BROKER": "footfall.workers.embedded.EmbeddedBroker", "OPTIONS": {}, "MIDDLEWARE": []}
