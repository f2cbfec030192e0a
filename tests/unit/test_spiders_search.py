"""Many patterns at once: the two ways to search agree, and neither can be upset."""

import importlib
import logging
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.spiders import patterns
from footfall.spiders.search import PythonSearch, RE2Search, SpiderMatcher, cleaned, make_search

PACKAGE = importlib.import_module("crawleruseragents").CRAWLER_USER_AGENTS_DATA
PATTERNS = [entry["pattern"] for entry in PACKAGE]
INSTANCES = [instance for entry in PACKAGE for instance in entry["instances"]]
SPIDERS = [(pattern, pattern) for pattern in PATTERNS]
BROWSERS = [
    *patterns.BROWSERS,
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Android 15; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0",
    "Mozilla/5.0 (Linux; Android 13; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 "
    "Chrome/125.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 "
    "Safari/537.36 OPR/123.0.0.0",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)",
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
]

by_re2 = SpiderMatcher(SPIDERS)
assert isinstance(by_re2._search, RE2Search), "these tests need footfall[spiders]"
by_python = SpiderMatcher(SPIDERS, use_re2=False)


def verdict_of_re(user_agent: str) -> str | None:
    """The first pattern that `re` finds: what both ways have to say."""
    return next((pattern for pattern in PATTERNS if patterns.finder(pattern)(user_agent)), None)


def test_every_instance_of_the_package_is_the_same_spider_either_way() -> None:
    """All user agents that the package knows get a name, and the same one with RE2 and without."""
    named = [by_re2.match(instance) for instance in INSTANCES]

    assert None not in named
    assert named == [by_python.match(instance) for instance in INSTANCES]


def test_both_ways_say_what_plain_re_says() -> None:
    """The filing and the automaton are only faster: the verdict is that of trying each pattern with `re`."""
    sample = INSTANCES[::7]

    assert [by_python.match(instance) for instance in sample] == [verdict_of_re(each) for each in sample]


@pytest.mark.parametrize("matcher", [by_re2, by_python], ids=["re2", "python"])
@pytest.mark.parametrize("browser", BROWSERS)
def test_no_browser_is_a_spider(matcher: SpiderMatcher, browser: str) -> None:
    """People are counted, with old browsers and new ones."""
    assert matcher.match(browser) is None


pieces = st.sampled_from(
    [*(instance[:20] for instance in INSTANCES[::11]), *PATTERNS[::5], "curl", "\n", " ", "é", "\ud800"]
)


@given(st.one_of(st.text(), st.lists(st.one_of(pieces, st.text(max_size=5)), max_size=8).map("".join)))
@settings(max_examples=500, deadline=None)
def test_any_text_gets_the_same_verdict_either_way(user_agent: str) -> None:
    """Whatever a client sends, both ways agree, and neither raises."""
    assert by_re2.match(user_agent) == by_python.match(user_agent)


fragments = st.sampled_from(
    [
        *("a", "b", "Z", " ", "1", "_", "-", ".", "^", "$", "|", "*", "+", "?", "(", ")", "]", "}", "{"),
        *("{2}", "{,2}", "{1,3}", "[ab]", "[^a]", "[a-Z]", "[a-c]", "[]a]", r"[^\w]", "[[:alpha:]]"),
        *(r"\d", r"\w", r"\s", r"\b", r"\B", r"\W", r"\.", r"\Z", r"\A", r"\1", r"\x61", r"\101"),
        *("(a|b)", "(?i)", "(?i:k)", "(?=a)", "(?!b)", "(?:b)", "(?P<n>a)", "(?s:.)", "(?>a)"),
    ]
)


@given(
    st.lists(st.lists(fragments, min_size=1, max_size=5).map("".join), min_size=1, max_size=4),
    st.text(st.sampled_from("abcAZ 1_-.:éK\n\v$^[]{},"), max_size=12),
)
@settings(max_examples=1500, deadline=None)
@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
def test_operators_patterns_get_the_same_verdict_either_way(made: list[str], user_agent: str) -> None:
    """Whatever an operator writes, usable or not, RE2 never decides otherwise than Python's `re`."""
    spiders = [(pattern, pattern) for pattern in made]

    assert SpiderMatcher(spiders).match(user_agent) == SpiderMatcher(spiders, use_re2=False).match(user_agent)


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        pytest.param("bot(?!any)", "robot", "botany", id="lookahead, which RE2 refuses"),
        pytest.param(r"(o)\1", "foo", "fo", id="back reference, which RE2 refuses"),
        pytest.param(r"bot\Z", "robot", "bots", id="end of text, which RE2 spells otherwise"),
        pytest.param("^bo{,2}t$", "boot", "bo{,2}t", id="open repetition, which RE2 reads as text"),
        pytest.param("bot$", "robot", "robot\n", id="end before a line end, which RE2 doesn't know"),
        pytest.param(r"bot\d", "bot1", "bot\u0661", id="digits, which are ASCII"),
        pytest.param("(?i)MYBOT", "MyBot/1", "MyB0t", id="case set aside"),
        pytest.param("MyBot", "MyBot/1", "mybot/1", id="case counts"),
    ],
)
@pytest.mark.parametrize("use_re2", [True, False], ids=["re2", "python"])
def test_where_the_engines_differ_there_is_one_answer(pattern: str, found: str, not_found: str, use_re2: bool) -> None:
    """Patterns that RE2 refuses or reads otherwise mean what they mean to Python."""
    matcher = SpiderMatcher([("it", pattern)], use_re2=use_re2)

    assert matcher.match(found) == "it"
    assert matcher.match(not_found) is None


@pytest.mark.parametrize("use_re2", [True, False], ids=["re2", "python"])
def test_the_first_of_several_spiders_gives_the_name(use_re2: bool) -> None:
    """Order decides, whether a pattern is plain text, short, an expression, or one that RE2 refuses."""
    user_agent = "bot longbot/2"
    spiders = [("refused", "bot(?!any)"), ("expression", r"bot/\d"), ("short", "bot"), ("plain", "longbot")]

    for first in range(len(spiders)):
        assert SpiderMatcher(spiders[first:], use_re2=use_re2).match(user_agent) == spiders[first][0]
        assert SpiderMatcher(spiders[first::-1], use_re2=use_re2).match(user_agent) == spiders[first][0]


@pytest.mark.parametrize("use_re2", [True, False], ids=["re2", "python"])
def test_a_broken_pattern_is_skipped_with_a_warning(use_re2: bool, caplog: pytest.LogCaptureFixture) -> None:
    """One bad row silences itself, not its neighbours."""
    with caplog.at_level(logging.WARNING):
        matcher = SpiderMatcher([("broken", "bot("), ("all", ""), ("good", "goodbot")], use_re2=use_re2)

    assert matcher.match("goodbot") == "good"
    assert matcher.match("bot(") is None
    skipped = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
    assert skipped == ["broken", "all"]


@pytest.mark.parametrize("use_re2", [True, False], ids=["re2", "python"])
def test_without_patterns_nothing_is_a_spider(use_re2: bool) -> None:
    """An empty list is a list."""
    assert SpiderMatcher((), use_re2=use_re2).match("Googlebot/2.1") is None


def test_an_empty_user_agent_is_no_spider() -> None:
    """What a missing header means is decided elsewhere."""
    assert SpiderMatcher([("any", "^")]).match("") is None


def test_only_the_first_1024_characters_count() -> None:
    """A user agent of any length costs a bounded time and finds the same spiders at its start."""
    matcher = SpiderMatcher([("bot", "bot")])

    assert matcher.match("x" * 1021 + "bot" + "x" * 1_000_000) == "bot"
    assert matcher.match("x" * 1022 + "bot") is None


def test_a_cleaned_user_agent_is_printable_ascii_of_the_same_length() -> None:
    """Line ends, controls, other scripts and lone surrogates can't reach an engine."""
    assert cleaned("a\n\x00\x7f\v é\ud800\U0001f577z") == "a     ???z"


def test_patterns_too_large_for_re2_are_searched_by_python(caplog: pytest.LogCaptureFixture) -> None:
    """RE2's refusal of the whole set is a warning and a slower search, not an error."""
    heavy = {number: f"{number}.{{0,999}}Z.{{0,999}}" for number in range(300)}

    search = make_search(heavy)

    assert isinstance(search, PythonSearch)
    assert "matching without it" in caplog.text
    assert search.first("7 Z") == 7


@pytest.mark.parametrize(
    "module", [pytest.param(None, id="not installed"), pytest.param(logging, id="another module of the name")]
)
def test_without_google_re2_python_searches(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is an accelerator: without it the verdicts are the same."""
    monkeypatch.setitem(sys.modules, "re2", module)

    assert isinstance(make_search({0: "bot"}), PythonSearch)
    assert SpiderMatcher(SPIDERS).match("Googlebot/2.1") == by_re2.match("Googlebot/2.1")


def test_a_user_agent_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second visit of the same client is answered from the cache."""
    matcher = SpiderMatcher([("bot", "bot")])
    matcher.match("robot")
    monkeypatch.setattr(matcher, "_search", None)

    assert matcher.match("robot") == "bot"


def test_the_search_works_without_django() -> None:
    """A program that only wants the matcher needs no settings, and doesn't even import Django."""
    code = "import sys, footfall.spiders.search; sys.exit('django' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
