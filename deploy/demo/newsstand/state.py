"""The directory in which the demo keeps everything that it makes, and its secret key there."""

import contextlib
import os
import secrets
from pathlib import Path

#: Says that a directory was made for a demo, and may be emptied for the next one.
MARKER = ".footfall-demo"


def make_state_dir(directory: Path) -> Path:
    """Make ``directory`` where it is missing. One that is new, or empty, is marked as the demo's own."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(directory.iterdir()):
        (directory / MARKER).touch()
    return directory


def secret_key_in(directory: Path) -> str:
    """The random key kept in ``directory``, made where it is missing.

    Several processes may ask at once: one key wins, and no process sees half of it.
    """
    path = directory / "secret-key"
    if not path.exists():
        _make_key(path)
    return path.read_text()


def _make_key(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600, exist_ok=False)
    draft.write_text(secrets.token_urlsafe(48))
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
