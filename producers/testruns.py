"""Test runs of a site: what is published in one must not reach the site's own spool, broker and database.

Django's test environment gives tests a database of their own, but no spool: what a test commits would lie in the
site's, and its worker would count it. So in a test environment each process has a spool of its own, which goes with
the run. A test that says itself what FOOTFALL is, by ``override_settings`` for one, is taken at its word.
"""

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import UserSettingsHolder
from django.conf import settings as django_settings

_root = Path(tempfile.gettempdir()) / f"footfall-tests-{os.getpid()}-{secrets.token_hex(4)}"
_maker = os.getpid()


def in_test_run() -> bool:
    """Whether Django's test environment is set up, and the test has said nothing of FOOTFALL."""
    # What `setup_test_environment` does first; to import the module for it would be work for nothing.
    if not hasattr(sys.modules.get("django.core.mail"), "outbox"):
        return False
    holder: Any = django_settings._wrapped  # type: ignore[misc]  # what override_settings puts in its place
    while isinstance(holder, UserSettingsHolder):
        if "FOOTFALL" in vars(holder):
            return False
        holder = holder.default_settings
    return True


def spool_dir() -> Path:
    """The spool of this process in this run: parallel ones have one each. Touches no disk."""
    return _root / str(os.getpid())


def _remove() -> None:
    if os.getpid() == _maker:
        shutil.rmtree(_root, ignore_errors=True)


atexit.register(_remove)
