"""One pattern: its plain text, its name, and what is wrong with it."""

import pytest

from footfall.spiders import patterns


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        pytest.param("Googlebot", "Googlebot", id="letters"),
        pytest.param(r"Googlebot\/", "Googlebot/", id="escaped slash"),
        pytest.param(r"archive\.org_bot", "archive.org_bot", id="escaped dot"),
        pytest.param("", "", id="nothing"),
        pytest.param("archive.org", None, id="any character"),
        pytest.param("^curl", None, id="anchor"),
        pytest.param(r"bot\d", None, id="class"),
        pytest.param("a|b", None, id="alternatives"),
        pytest.param("(?i)bot", None, id="flag"),
        pytest.param("bot\\", None, id="lone backslash"),
    ],
)
def test_only_plain_text_counts_as_literal(pattern: str, literal: str | None) -> None:
    """A pattern is searched for as plain text exactly when it is nothing more."""
    assert patterns.literal_of(pattern) == literal


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        pytest.param(r"Googlebot\/", "Googlebot", id="trailing slash"),
        pytest.param("[wW]get", "wget", id="either case"),
        pytest.param("S[eE][mM]rushBot", "SemrushBot", id="either case twice"),
        pytest.param("Ahrefs(Bot|SiteAudit)", "AhrefsBot", id="first alternative"),
        pytest.param("(sistrix|SISTRIX) [cC]rawler", "sistrix crawler", id="two groups"),
        pytest.param("Chirp|gotosocial", "Chirp", id="top-level alternative"),
        pytest.param(r"(^| )sentry\/", "sentry", id="start or blank"),
        pytest.param("AdsBot-Google([^-]|$)", "AdsBot-Google", id="not followed by"),
        pytest.param(r"Spider[\s\S]*spider\.com", "Spider spider.com", id="anything between"),
        pytest.param("my.*spider", "my spider", id="dot star"),
        pytest.param("(?i)mybot", "mybot", id="flag"),
        pytest.param(r"Mediapartners \(Googlebot\)", "Mediapartners (Googlebot)", id="escaped brackets"),
        pytest.param("^$", "^$", id="nothing readable"),
        pytest.param("b" * 500, "b" * 100, id="cut to the column"),
    ],
)
def test_a_name_is_the_readable_part_of_the_pattern(pattern: str, name: str) -> None:
    """Names in the tally can be read by people who don't read regular expressions."""
    assert patterns.readable_name(pattern) == name


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param("bot(", "not a regular expression", id="unbalanced"),
        pytest.param("*bot", "not a regular expression", id="nothing to repeat"),
        pytest.param("(?u)bot", "not a regular expression", id="contradicts ASCII"),
        pytest.param("(" * 5000, "not a regular expression", id="nested beyond the stack"),
        pytest.param("", "empty string", id="empty"),
        pytest.param("(bot)?", "empty string", id="optional"),
        pytest.param("büt", "ASCII", id="not ASCII"),
    ],
)
def test_a_fault_says_why_a_pattern_cant_be_used(pattern: str, reason: str) -> None:
    """Every way in which a pattern is unusable is told in words, none by an exception."""
    assert reason in (patterns.fault(pattern) or "")


def test_a_usable_pattern_has_no_fault() -> None:
    """Plain text and expressions pass alike."""
    assert patterns.fault(r"Googlebot\/") is None
    assert patterns.fault("^curl") is None


@pytest.mark.parametrize("pattern", ["Mozilla", "(?i)mozilla", r"^Mozilla/\d"])
def test_a_pattern_for_everybodys_browser_is_recognised(pattern: str) -> None:
    """A pattern that would make spiders of the site's visitors is found out."""
    assert patterns.browser_found_by(pattern) == "Mozilla/5.0"


def test_a_spiders_pattern_finds_no_browser() -> None:
    """A real spider's pattern passes the same test."""
    assert patterns.browser_found_by(r"Googlebot\/") is None
