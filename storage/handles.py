"""Handles: short names of objects, made of the tag of the model and the key of the object.

``org1`` where the tag is all letters and the key a whole number; ``net_2-7`` where a tag would run into the number;
``page:6ba7b810-…`` where the key is no such number. `split_ref` reads all of them, and what people make of the first
form: ``ORG 1``, ``org-1``.
"""

from __future__ import annotations

import re
from typing import Any

#: Letters, then any spaces and hyphens, then the digits; or any tag, at least one of these, then the digits.
_NUMBERED = re.compile(r"([^\W\d_]+)[ -]*(\d+)\s*|(.*[^ -])[ -]+(\d+)\s*", re.DOTALL)


def handle_of(tag: str, key: Any) -> str:
    """The handle of the object ``key`` of the model tagged ``tag``. Raises ValueError where there is no key."""
    if key is None or key == "":
        raise ValueError("An object that has no primary key yet has no handle.")
    if isinstance(key, int) and not isinstance(key, bool) and key >= 0:
        return f"{tag}{key}" if tag.isalpha() else f"{tag}-{key}"
    if isinstance(key, (tuple, list)):
        raise ValueError("A primary key of several columns makes no handle.")
    return f"{tag}:{key}"


def split_ref(string: str) -> tuple[str, int | str]:
    """Tag, in lower case, and key of the handle ``string``: the key is an int, or a text where a colon is before it.

    Raises ValueError for what is no handle, TypeError for what is no text. No query.
    """
    if not isinstance(string, str):
        raise TypeError(f"A handle is a text, not {type(string).__name__}.")
    tag, colon, key = string.partition(":")
    if colon:
        if not (tag.strip() and key):
            raise ValueError(_refusal(string))
        return tag.lower(), key
    match = _NUMBERED.fullmatch(string)
    if match is None:
        raise ValueError(_refusal(string))
    return (match[1] or match[3]).lower(), int(match[2] or match[4])


def _refusal(string: str) -> str:
    return f"{string[:80]!r} is no handle: a tag and a key, as in org1, net_2-7 or page:front."
