"""Log and feed beside django-activity-stream, on the same PostgreSQL, in the same run: read the ratios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.figures import Figures

TESTS = Path(__file__).resolve().parent.parent


@pytest.mark.usefixtures("stack_directory")
def test_beside_django_activity_stream(figures: Figures, tmp_path: Path) -> None:
    """In a process of its own, since there it is an installed app; see beside.py for what each has to do."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "settings.beside",
        "PYTHONPATH": str(TESTS),
        "FOOTFALL_SCRATCH": str(tmp_path),
    }
    command = [sys.executable, "-m", "benchmarks.beside"]

    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows
    for title, *cells in rows:
        figures.add(title, *cells)
