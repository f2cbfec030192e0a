"""One spider's pattern: what it may look like, what it is called, and what is wrong with it.

A pattern is a regular expression in Python's `re` syntax, searched for anywhere in the request's user agent.
Case counts, unless the pattern says `(?i)`; `\\d`, `\\w`, `\\s` and `\\b` mean ASCII. Nothing here touches
the database or blocks.
"""

import re
from collections.abc import Callable

MAX_PATTERN_LENGTH = 500
MAX_NAME_LENGTH = 100

# Plain people's browsers. A pattern that finds one of these would make spiders of the site's visitors.
BROWSERS = (
    "Mozilla/5.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/26.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
)

_LITERAL = re.compile(r"(?:[^\\\[\](){}.*+?^$|]|\\[^\w])*")


def fault(pattern: str) -> str | None:
    """Say in one sentence why `pattern` can't be used, or return None when it can. Raises nothing."""
    if not pattern.isascii():
        return "It is not plain ASCII, and user agents are compared as ASCII."
    try:
        found_in = finder(pattern)
    except ValueError as error:
        return f"It is not a regular expression: {error}"
    if found_in(""):
        return "It matches the empty string, and so every user agent."
    return None


def browser_found_by(pattern: str) -> str | None:
    """Return the first of `BROWSERS` in which a usable `pattern` is found, or None."""
    found_in = finder(pattern)
    return next((browser for browser in BROWSERS if found_in(browser)), None)


def finder(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether `pattern` is found in a text.

    Raises ValueError when Python's `re` doesn't take the pattern.
    """
    literal = literal_of(pattern)
    if literal is not None:
        return lambda text: literal in text
    search = compiled(pattern).search
    return lambda text: search(text) is not None


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile `pattern` with ASCII classes. Raises ValueError, whatever `re` makes of a bad pattern."""
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(str(error)) from error


def literal_of(pattern: str) -> str | None:
    """Return the plain text that `pattern` stands for, or None when it is more than plain text."""
    if not _LITERAL.fullmatch(pattern):
        return None
    return re.sub(r"\\(.)", r"\1", pattern)


_NAME_STEPS = (
    (re.compile(r"\\[A-Za-z]"), " "),  # \d, \s
    (re.compile(r"\[([A-Za-z])[^\]]*\]"), r"\1"),  # [wW]get is wget
    (re.compile(r"\[[^\]]*\]"), " "),
    (re.compile(r"\(\?[a-zA-Z:-]*\)?"), "("),  # (?i), (?:
    (re.compile(r"\(([^()|]*)\|[^()]*\)"), r"\1"),  # Ahrefs(Bot|SiteAudit) is AhrefsBot
    (re.compile(r"\|.*"), ""),
    (re.compile(r"\.[*+?]"), " "),
    (re.compile(r"[\^$*+?()]|\{[\d,]*\}"), ""),
)
_PRIVATE_USE = 0xE000


def readable_name(pattern: str) -> str:
    """Derive a name of at most `MAX_NAME_LENGTH` characters from a pattern: `[wW]get\\/` is called `wget`."""
    # An escaped character is literal; it sits out the steps in the private use area, where no step sees it.
    text = re.sub(r"\\([^\w])", lambda found: chr(_PRIVATE_USE + ord(found[1])), pattern)
    for step, replacement in _NAME_STEPS:
        text = step.sub(replacement, text)
    text = re.sub("[\ue000-\ue07f]", lambda found: chr(ord(found[0]) - _PRIVATE_USE), text)
    return (" ".join(text.split()).strip(" /;:,-") or pattern)[:MAX_NAME_LENGTH]
