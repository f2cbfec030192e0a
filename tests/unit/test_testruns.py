"""A site's tests publish into a spool of their own, whatever its settings say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.test import override_settings

from footfall.producers import testruns
from footfall.producers.settings import conf

TESTS = Path(__file__).resolve().parents[1]

SITE = """
import os, sys
import django
django.setup()
from django.conf import settings
from django.test.utils import override_settings, setup_test_environment
from footfall.producers import background, publish_labels
from footfall.producers.settings import conf
from footfall.producers.spool import current_spool
"""


def run(code: str, site_spool: Path, module: str = "settings.embedded") -> str:
    """What a fresh process of the site prints."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": module,
        "PYTHONPATH": str(TESTS),
        "FOOTFALL_SPOOL_DIR": str(site_spool),
        "FOOTFALL_SHIPPER": "thread",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SITE + code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_test_publishes_stays_out_of_the_site_s_spool(tmp_path: Path) -> None:
    """And is gone with the run."""
    told = run(
        "setup_test_environment()\npublish_labels('a')\n"
        "print(current_spool().directory, len(os.listdir(conf.spool_dir)))",
        tmp_path / "site",
    )

    directory, files = told.split()
    assert int(files) >= 1
    assert not (tmp_path / "site").exists()
    assert not Path(directory).exists() and not Path(directory).parent.exists()


def test_the_site_itself_publishes_into_its_spool(tmp_path: Path) -> None:
    run("publish_labels('a')", tmp_path / "site")

    assert list((tmp_path / "site").iterdir())


def test_processes_that_test_in_parallel_have_a_spool_each(tmp_path: Path) -> None:
    """They are forked after the first test has published."""
    told = run(
        "setup_test_environment()\npublish_labels('a')\nprint(current_spool().directory, flush=True)\n"
        "if os.fork() == 0:\n"
        "    publish_labels('b')\n    print(current_spool().directory, flush=True)\n    os._exit(0)\n"
        "os.wait()",
        tmp_path / "site",
    )

    assert len(set(told.split())) == 2


def test_nothing_that_a_test_publishes_is_shipped(tmp_path: Path) -> None:
    """The broker of the settings may be the site's own."""
    told = run(
        "import threading\nsetup_test_environment()\npublish_labels('a')\n"
        "print([thread.name for thread in threading.enumerate() if 'footfall' in thread.name])",
        tmp_path / "site",
        "settings.stack",
    )

    assert told.strip() == "[]"


def test_a_test_that_names_a_spool_is_taken_at_its_word(tmp_path: Path) -> None:
    """Also under other overrides, as integration tests do that run workers beside."""
    with override_settings(FOOTFALL={"SPOOL_DIR": tmp_path / "own"}), override_settings(DEBUG=True):
        assert not testruns.in_test_run()
        assert conf.spool_dir == tmp_path / "own"
