"""The fixture, the package behind it, and the command that brings the table up to the package."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

import footfall.spiders
from footfall.spiders import refresh
from footfall.spiders.matcher import is_spider
from footfall.spiders.models import Spider

FIXTURES = Path(footfall.spiders.__path__[0]) / "fixtures"

pytestmark = pytest.mark.django_db


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """A crawler-user-agents package of two spiders, which the test may change."""
    entries = [{"pattern": "newbot\\/", "url": "https://new.example/"}, {"pattern": "oldbot"}]
    monkeypatch.setitem(sys.modules, "crawleruseragents", SimpleNamespace(CRAWLER_USER_AGENTS_DATA=entries))
    return entries


def refreshed(*arguments: str) -> str:
    """Run the command; return what it says."""
    said = io.StringIO()
    call_command("refresh_spiders", *arguments, stdout=said, stderr=said)
    return said.getvalue()


def rows() -> set[tuple[str, str, str, bool]]:
    return set(Spider.objects.values_list("pattern", "name", "url", "custom"))


def test_tb_23_the_fixture_fills_the_table() -> None:
    """`loaddata spiders` brings every spider of the list, as the package's."""
    call_command("loaddata", "spiders", verbosity=0)

    assert Spider.objects.filter(custom=False, active=True).count() >= 1500


def test_the_fixture_is_sorted_names_no_primary_keys_and_can_be_used() -> None:
    """Every row of the file stands for one spider that the model itself would accept."""
    objects = json.loads((FIXTURES / "spiders.json").read_text("utf-8"))
    patterns = [each["fields"]["pattern"] for each in objects]

    assert patterns == sorted(set(patterns))
    assert not any("pk" in each for each in objects)
    for each in objects:
        Spider(**each["fields"]).clean_fields()
        Spider(**each["fields"]).clean()


def test_the_fixtures_licence_stands_beside_it() -> None:
    """The list is somebody else's work under the MIT License, which asks to be copied along."""
    assert "Martin Monperrus" in (FIXTURES / "LICENSE.crawler-user-agents").read_text("utf-8")


def test_loading_the_fixture_again_changes_nothing() -> None:
    """Loading is repeatable: the same rows, under the same primary keys."""
    call_command("loaddata", "spiders", verbosity=0)
    before = set(Spider.objects.values_list("pk", "pattern", "name", "url", "active", "custom"))

    call_command("loaddata", "spiders", verbosity=0)

    assert set(Spider.objects.values_list("pk", "pattern", "name", "url", "active", "custom")) == before


def test_loading_the_fixture_leaves_an_operators_spiders_alone() -> None:
    """An operator's row keeps its key, its name and its switch, even when its pattern is in the fixture."""
    mine = Spider.objects.create(pk=1, pattern="mybot", name="mine")
    same = Spider.objects.create(pk=2, pattern="Googlebot\\/", name="renamed", active=False)

    call_command("loaddata", "spiders", verbosity=0)

    mine.refresh_from_db()
    same.refresh_from_db()
    assert (mine.pattern, mine.name, mine.custom) == ("mybot", "mine", True)
    assert (same.name, same.url, same.active, same.custom) == ("renamed", "", False, True)


def test_loading_the_fixture_keeps_a_spider_switched_off() -> None:
    """A switch is the operator's, on the package's rows too."""
    call_command("loaddata", "spiders", verbosity=0)
    Spider.objects.filter(pattern="Googlebot\\/").update(active=False)

    call_command("loaddata", "spiders", verbosity=0)

    assert not Spider.objects.get(pattern="Googlebot\\/").active


def test_refreshing_follows_the_package(package: list[dict[str, str]]) -> None:
    """What the package adds, changes and drops happens to the table, and is summed up."""
    Spider.objects.create(pattern="oldbot", name="another name", custom=False)
    Spider.objects.create(pattern="gonebot", custom=False)

    said = refreshed()

    assert said.split("\n")[:3] == ["added: 1", "changed: 1", "removed: 1"]
    assert rows() == {
        ("newbot\\/", "newbot", "https://new.example/", False),
        ("oldbot", "oldbot", "", False),
    }


def test_refreshing_twice_changes_nothing_more(package: list[dict[str, str]]) -> None:
    """The second run finds the table as the package has it."""
    refreshed()

    assert refreshed().split("\n")[:3] == ["added: 0", "changed: 0", "removed: 0"]


def test_refreshing_counts_at_once(package: list[dict[str, str]]) -> None:
    """The process that refreshed knows the new spiders after its commit."""
    refreshed()

    assert is_spider("newbot/1")


def test_refreshing_leaves_an_operators_spiders_alone(package: list[dict[str, str]]) -> None:
    """Rows made by an operator are neither renamed nor removed, and a switch stays where it is."""
    Spider.objects.create(pattern="mybot", name="mine")
    Spider.objects.create(pattern="newbot\\/", name="renamed", url="https://mine.example/")
    Spider.objects.create(pattern="oldbot", name="another name", custom=False, active=False)

    refreshed()

    assert rows() == {
        ("mybot", "mine", "", True),
        ("newbot\\/", "renamed", "https://mine.example/", True),
        ("oldbot", "oldbot", "", False),
    }
    assert not Spider.objects.get(pattern="oldbot").active


def test_a_dry_run_writes_nothing(package: list[dict[str, str]], tmp_path: Path) -> None:
    """It says what would change, in the table or in a file."""
    assert "added: 2" in refreshed("--dry-run")
    assert "newbot" in refreshed("--dry-run", "--fixture", str(tmp_path / "spiders.json"), "--verbosity", "2")

    assert not Spider.objects.exists()
    assert not list(tmp_path.iterdir())


def test_a_fixture_that_was_written_can_be_loaded(package: list[dict[str, str]], tmp_path: Path) -> None:
    """`--fixture` leaves the table alone and writes what `loaddata` reads; a second run reports no change."""
    path = tmp_path / "spiders.json"

    refreshed("--fixture", str(path))
    assert not Spider.objects.exists()
    call_command("loaddata", str(path), verbosity=0)

    assert rows() == {("newbot\\/", "newbot", "https://new.example/", False), ("oldbot", "oldbot", "", False)}
    assert "added: 0\nchanged: 0\nremoved: 0" in refreshed("--fixture", str(path))


def test_a_pattern_that_cant_be_used_is_left_out_and_told(package: list[dict[str, str]]) -> None:
    """A mistake in the package doesn't reach the table."""
    package += [{"pattern": "broken("}, {"pattern": "Mozilla"}, {"pattern": "fine", "url": "ttps://typo"}]

    said = refreshed()

    assert "'broken('" in said
    assert "'Mozilla'" in said
    assert set(Spider.objects.values_list("pattern", "url")) >= {("fine", "")}
    assert Spider.objects.count() == 3


def test_without_the_extra_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra, not a module nobody asked for."""
    monkeypatch.setitem(sys.modules, "crawleruseragents", None)

    with pytest.raises(CommandError, match=r"footfall\[spiders\]"):
        refreshed()


def test_an_empty_package_removes_nothing(package: list[dict[str, str]]) -> None:
    """A package that was emptied by mistake doesn't empty the table."""
    Spider.objects.create(pattern="oldbot", custom=False)
    package.clear()

    with pytest.raises(CommandError):
        refreshed()

    assert Spider.objects.count() == 1


def test_the_fixture_keeps_up_with_the_installed_package() -> None:
    """Every pattern of the installed package can be used, and the fixture is not far from it."""
    wanted, refused = refresh.package_rows()
    changes = refresh.fixture_changes(wanted, FIXTURES / "spiders.json")

    assert refused == []
    assert len(changes.added + changes.changed + changes.removed) < 150
