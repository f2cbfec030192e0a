"""Handles: short names of objects, made of the tag of the model and the key of the object.

``org1`` where the tag is all letters and the key a whole number; ``net_2-7`` where a tag would run into the number;
``page:6ba7b810-…`` where the key is no such number. `split_ref` reads all of them, and what people make of the first
form: ``ORG 1``, ``org-1``.
"""

from __future__ import annotations

from typing import Any

#: What may stand between a tag and a number, so that no tag begins or ends with it.
BETWEEN = " -"
#: No key has more digits, and strangers' numbers are not read at any length.
MOST_DIGITS = 100


def handle_of(tag: str, key: Any) -> str:
    """The handle of the object ``key`` of the model tagged ``tag``. Raises ValueError where there is no key."""
    if key is None or key == "":
        raise ValueError("An object that has no primary key yet has no handle.")
    if isinstance(key, (tuple, list)):
        raise ValueError("A primary key of several columns makes no handle.")
    if isinstance(key, int) and not isinstance(key, bool) and key >= 0:
        return f"{tag}{key}" if tag.isalpha() else f"{tag}-{key}"
    return f"{tag}:{key}"


def split_ref(string: str) -> tuple[str, int | str]:
    """Tag, in lower case, and key of the handle ``string``: the key is an int, or a text where a colon is before it.

    Raises ValueError for what is no handle, TypeError for what is no text. No query; the time that it takes grows with
    the length of the text, and no faster.
    """
    if not isinstance(string, str):
        raise TypeError(f"A handle is a text, not {type(string).__name__}.")
    tag, colon, key = string.partition(":")
    if colon and key and not fault_of(tag) and _is_text(key):
        return tag.lower(), key
    if not colon:
        tag, digits = _numbered(string.rstrip())
        if 0 < len(digits) <= MOST_DIGITS and not fault_of(tag):
            return tag.lower(), int(digits)
    raise ValueError(f"{string[:80]!r} is no handle: a tag and a key, as in org1, net_2-7 or page:front.")


def fault_of(tag: str) -> str:
    """What is wrong with a tag that handles could not be read back with; nothing where they can."""
    if not tag.strip():
        return "is blank"
    if tag != tag.strip() or tag != tag.strip(BETWEEN):
        return "begins or ends with a space or a hyphen"
    if ":" in tag:
        return "holds a colon"
    if not tag.replace(" ", "").isprintable():
        return "holds a line break, or another character that can't be seen"
    return ""


def _is_text(key: str) -> bool:
    """Whether a database can be asked for it: no NUL, no lone surrogate."""
    return "\0" not in key and key.encode("utf-8", "replace").decode() == key


def _numbered(text: str) -> tuple[str, str]:
    """The tag before the digits at the end of ``text``, and the digits; both blank where they run into one another."""
    start = len(text)
    while start and text[start - 1].isdecimal():
        start -= 1
    before, digits = text[:start], text[start:]
    tag = before.rstrip(BETWEEN)
    return (tag, digits) if tag != before or tag.isalpha() else ("", "")
