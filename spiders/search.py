"""Which of many patterns is found in a user agent first: the pure part of spider matching, without Django.

There are two ways to search, and they give the same verdicts. `RE2Search` looks for all patterns in one
pass with google-re2's `Set`; `PythonSearch` needs the standard library alone. The verdict is always that of
Python's `re` on the cleaned text: `SpiderMatcher` cuts a user agent at 1,024 characters, replaces what is
not ASCII by `?` and control characters by a blank, so that line ends, Unicode classes and case folding,
where the two engines differ, can't occur. What RE2 refuses, or reads differently, is left to `re`.
"""

import functools
import importlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

from footfall.spiders import patterns

logger = logging.getLogger(__name__)

MAX_USER_AGENT_LENGTH = 1024
CACHE_SIZE = 8192
# With RE2's own 8 MB the automaton of 1,500 patterns is thrown away and built again all the time (19 µs
# instead of 2 µs a text).
RE2_MEMORY = 32 << 20

_BLANKED = bytes(code if 32 <= code < 127 else 32 for code in range(256))
# RE2 takes [[:alpha:]] for a class and x{,3} for plain text; Python takes them the other way round.
_READ_DIFFERENTLY = re.compile(r"\[:\^?\w+:\]|\{,\d*\}")


class Search(Protocol):
    """Finds patterns in a cleaned text."""

    def first(self, text: str) -> int | None:
        """Return the lowest number of a pattern found in `text`, or None. Raises nothing."""


class SpiderMatcher:
    """Names the spider behind a user agent.

    `spiders` are pairs of name and pattern; where several match, the first pair wins. A pattern that can't
    be used is logged as a warning and skipped. Making one compiles every pattern (about 10 ms for 1,500
    with RE2); it never changes afterwards, so threads may share it. `use_re2=False` keeps to the standard
    library even where google-re2 is installed.
    """

    def __init__(self, spiders: Sequence[tuple[str, str]], *, use_re2: bool = True) -> None:
        usable = _without_faults(spiders)
        self._names = [name for name, _ in spiders]
        self._search = make_search(usable, use_re2=use_re2)
        self._cached = functools.lru_cache(maxsize=CACHE_SIZE)(self._match)

    def match(self, user_agent: str) -> str | None:
        """Return the name of the first spider whose pattern is found in `user_agent`, or None.

        Looks at the first 1,024 characters. An empty user agent is no spider. Neither blocks nor raises.
        """
        return self._cached(user_agent[:MAX_USER_AGENT_LENGTH])

    def _match(self, user_agent: str) -> str | None:
        if not user_agent:
            return None
        number = self._search.first(cleaned(user_agent))
        return None if number is None else self._names[number]


def _without_faults(spiders: Sequence[tuple[str, str]]) -> dict[int, str]:
    usable = {}
    for number, (name, pattern) in enumerate(spiders):
        fault = patterns.fault(pattern)
        if fault is None:
            usable[number] = pattern
        else:
            logger.warning("Spider %r is skipped, its pattern %r can't be used. %s", name, pattern, fault)
    return usable


def cleaned(user_agent: str) -> str:
    """Return `user_agent` as printable ASCII of the same length."""
    return user_agent.encode("ascii", "replace").translate(_BLANKED).decode("ascii")


def make_search(numbered: Mapping[int, str], *, use_re2: bool = True) -> Search:
    """Return a search for usable patterns by number: RE2's where it is installed, else Python's own."""
    re2 = _imported_re2() if use_re2 else None
    if re2 is None or not numbered:
        return PythonSearch(numbered)
    try:
        return RE2Search(numbered, re2)
    except re2.error as error:
        logger.warning("RE2 can't hold the %s spider patterns, matching without it: %s", len(numbered), error)
        return PythonSearch(numbered)


def _imported_re2() -> ModuleType | None:
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        return None
    # Other distributions install a module of this name too, without Set.
    return re2 if hasattr(re2, "Set") else None


class PythonSearch:
    """Searches with the standard library alone.

    Nearly all patterns are plain text. Each of those is filed under its first four characters, and only the
    ones whose four characters occur in the text are looked for; the others are tried one by one.
    """

    _START = 4

    def __init__(self, numbered: Mapping[int, str]) -> None:
        self._by_start: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self._short: list[tuple[int, str]] = []
        self._expressions: list[tuple[int, re.Pattern[str]]] = []
        for number, pattern in sorted(numbered.items()):
            self._file(number, pattern)

    def _file(self, number: int, pattern: str) -> None:
        literal = patterns.literal_of(pattern)
        if literal is None:
            self._expressions.append((number, patterns.compiled(pattern)))
        elif len(literal) < self._START:
            self._short.append((number, literal))
        else:
            self._by_start[literal[: self._START]].append((number, literal))

    def first(self, text: str) -> int | None:
        """Return the lowest number of a pattern found in `text`, or None."""
        found = [number for number, literal in self._literals_to_try(text) if literal in text]
        found += [number for number, expression in self._expressions if expression.search(text)]
        return min(found, default=None)

    def _literals_to_try(self, text: str) -> Iterable[tuple[int, str]]:
        yield from self._short
        if not self._by_start:
            return
        starts = {text[at : at + self._START] for at in range(len(text) - self._START + 1)}
        for start in self._by_start.keys() & starts:
            yield from self._by_start[start]


class RE2Search:
    """Searches for all patterns at once with google-re2, in time linear in the text.

    What it refuses (look-around, back references) is tried with `re`, where an unlucky pattern can take long.
    Raises `re2.error` when RE2 can't compile the patterns within its memory.
    """

    def __init__(self, numbered: Mapping[int, str], re2: ModuleType) -> None:
        self._numbers: list[int] = []
        self._set = re2.Set.SearchSet(_options(re2))
        refused = {
            number: pattern for number, pattern in sorted(numbered.items()) if not self._add(number, pattern, re2)
        }
        self._remainder = PythonSearch(refused)
        # Refuses unless twenty of the largest states fit, so that a match can't run out of memory later.
        self._set.Compile()

    def _add(self, number: int, pattern: str, re2: ModuleType) -> bool:
        if _READ_DIFFERENTLY.search(pattern):
            return False
        try:
            self._set.Add(pattern)
        except re2.error:
            return False
        self._numbers.append(number)
        return True

    def first(self, text: str) -> int | None:
        """Return the lowest number of a pattern found in `text`, or None."""
        found: list[int] = self._set.Match(text) or []
        numbers = [self._numbers[place] for place in found]
        left = self._remainder.first(text)
        return min(numbers if left is None else [*numbers, left], default=None)


def _options(re2: ModuleType) -> Any:
    options = re2.Options()
    options.max_mem = RE2_MEMORY
    # It logs to stderr, past Python's logging, and the caller handles each refusal.
    options.log_errors = False
    return options
