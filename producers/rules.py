"""The rules that text, numbers and times of an event keep, at the door and in the worker alike.

Each function returns nothing or raises `Malformed`. They are pure: the time is passed in.
"""

import math
import re
import unicodedata
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from footfall.producers.messages import EARLIEST, INT64_MAX, MAX_USER_AGENT, LabelKey, Once
from footfall.producers.reasons import Reason

MAX_DEPTH = 32

#: How long a token of a visitor counted once may be kept: a year's window, and some time.
LONGEST_ONCE = timedelta(days=400)

# A verb is a phrase, a label is a name: neither can be markup, a statement or a Python internal.
_VERB = re.compile(r"(?!__)\w(?:[\w .,:;!?/+&()%#@$€’‘“”„«»…–—-]|'(?=\w))*(?<![;:, /&(+#@-])")
_LABEL = re.compile(r"(?!__)[\w.+\- /#@(][\w.+\-/#@,()!?&% ]*")


class Malformed(ValueError):
    """A value that breaks a rule; ``reason`` says which, ``str()`` tells a person."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@lru_cache(maxsize=4096)
def _is_verb(verb: str) -> bool:
    return _VERB.fullmatch(_without_marks(verb)) is not None and "--" not in verb


def check_verb(verb: str) -> None:
    """A verb is a phrase of letters, digits, spaces and punctuation that begins with a letter or digit."""
    if not _is_verb(verb):
        text = "is not a verb: letters, digits and punctuation, beginning with a letter or digit."
        raise Malformed(Reason.BAD_TEXT, f"{verb[:80]!r} {text}")


@lru_cache(maxsize=4096)
def check_label(label: LabelKey) -> None:
    """Label, category and dom_id are names: letters, digits, spaces and a few marks, no quotes, brackets or colons."""
    for part in (label.label, label.category, label.dom_id):
        if _LABEL.fullmatch(_without_marks(part)) is None:
            raise Malformed(Reason.BAD_TEXT, f"{part[:80]!r} has a character that a label can't have.")


def _without_marks(text: str) -> str:
    """``text`` without the marks of letters (Unicode's category M), which many scripts can't be written without.

    One at the beginning stands: it has no letter that it belongs to.
    """
    if text.isascii():
        return text
    return text[:1] + "".join(character for character in text[1:] if unicodedata.category(character)[0] != "M")


def check_time(at: datetime, now: datetime, skew: timedelta) -> None:
    """An event happened after 1999 and not later than ``skew`` from now."""
    if at < EARLIEST:
        raise Malformed(Reason.BAD_TIME, f"{at.isoformat()} is before the year 2000.")
    if at > now + skew:
        raise Malformed(Reason.BAD_TIME, f"{at.isoformat()} is more than {skew.total_seconds():g} s in the future.")


def check_once(once: Once, at: datetime, now: datetime) -> None:
    """What counts once is remembered from its time on, and not for ever."""
    if not at <= once.until <= max(at, now) + LONGEST_ONCE:
        text = f"until {once.until.isoformat()} is before the event, or more than {LONGEST_ONCE.days} days ahead."
        raise Malformed(Reason.BAD_TIME, text)


def check_option(name: Any, value: Any) -> None:
    """An option has a name of at most 100 characters; it is a text of at most 255, a 64-bit integer, a bool or None."""
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise Malformed(Reason.BAD_EVENT, f"{name!r} is not the name of an option.")
    if isinstance(value, str) and len(value) > 255:
        raise Malformed(Reason.BAD_TEXT, f"The option {name!r} has more than 255 characters.")
    if not (value is None or isinstance(value, (str, int))):
        raise Malformed(Reason.BAD_EVENT, f"The option {name!r} is no text, integer, bool or None: {value!r}.")
    check_data({name: value})


def check_text(text: str) -> None:
    """Text that a database column can hold: no NUL, no lone surrogate."""
    if "\0" in text:
        raise Malformed(Reason.BAD_TEXT, "A text holds a NUL character.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Malformed(Reason.BAD_TEXT, "A text holds a lone surrogate.")


def clean_user_agent(header: str) -> str:
    """A user agent as it travels: at most 512 characters, without what no column can hold."""
    return header[:MAX_USER_AGENT].replace("\0", "").encode("utf-8", "replace").decode()


def check_data(value: Any, depth: int = 0) -> None:
    """Data that JSON and a database can hold: finite numbers of 64 bits, clean text, at most 32 levels deep."""
    if depth > MAX_DEPTH:
        raise Malformed(Reason.BAD_EVENT, f"The data is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed(Reason.BAD_NUMBER, f"The data holds {value}, which is not a finite number.")
    elif isinstance(value, int):
        if abs(value) > INT64_MAX:
            raise Malformed(Reason.BAD_NUMBER, "The data holds an integer of more than 64 bits.")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_data(key, depth + 1)
            check_data(item, depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            check_data(item, depth + 1)
