"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    """``" Did you mean …?"`` with the one of ``known`` that comes nearest, or nothing; to be added to a message."""
    found = {each.lower(): each for each in known}
    match = difflib.get_close_matches(name.lower(), found, n=1)
    return f" Did you mean {found[match[0]]}?" if match else ""
