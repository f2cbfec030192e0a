"""The browser script, run by Node on a page that is just enough of one: what is sent, when, and how often."""

import gzip
import json
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from footfall.producers.messages import LabelKey
from footfall.producers.rules import Malformed, check_label

STATIC = Path(__file__).resolve().parents[2] / "producers" / "static" / "footfall"
SCRIPT = STATIC / "footfall.js"
PAGE = Path(__file__).with_name("fakepage.mjs")


def run(scenario: str) -> Any:
    """What a scenario returns: the body of an async function, see fakepage.mjs."""
    done = subprocess.run(
        ["node", str(PAGE), str(SCRIPT)], input=scenario, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# -- The file


def test_the_script_is_at_most_2000_bytes() -> None:
    """As a server with gzip sends it."""
    assert len(gzip.compress(SCRIPT.read_bytes(), 9, mtime=0)) <= 2000


@pytest.mark.parametrize("name", ["footfall.js", "heatmap.js"])
def test_a_strict_content_security_policy_has_nothing_to_refuse(name: str) -> None:
    """No code out of text, no markup out of text, no style attribute; and no cookie."""
    code = (STATIC / name).read_text()

    subprocess.run(["node", "--check", str(STATIC / name)], check=True, timeout=60)
    assert not re.search(
        r"eval|new Function|innerHTML|outerHTML|insertAdjacent|document\.write|cssText|\"style\"|cookie|import\(", code
    )


# -- What a click counts for


@pytest.mark.parametrize(
    ("track", "id", "sent"),
    [
        ("home:nav", "logo", "home:nav:logo"),
        ("home", "logo", "home:None:logo"),
        ("home:nav", None, "home:nav:None"),
        ("home:nav", "", "home:nav:None"),
        ("home:nav:top", "logo", "home:nav:top"),
        ("home:nav", "x" * 50, "home:nav:" + "x" * 50),
        ("home:nav", "x" * 51, "home:nav:None"),
        ("home:nav", "a<b", "home:nav:None"),
        ("home:nav", "a:b", "home:nav:None"),
        ("home:nav", "größe-Ω", "home:nav:größe-Ω"),
        ("Über uns:nav", "a b", "Über uns:nav:a b"),
    ],
)
def test_tr_01_a_click_counts_for_label_category_and_the_elements_id(track: str, id: str | None, sent: str) -> None:  # noqa: A002 - it is one
    """The id of the element where it is fit to be one, else "None"."""
    attributes = json.dumps({} if id is None else {"id": id})
    scenario = f"""
        const tab = new Tab(), page = tab.open();
        page.click({json.dumps(track)}, {attributes}); page.tick(1000); await settle();
        return tab.counted;
    """

    assert run(scenario) == {sent: 1}


@pytest.mark.parametrize("label", ["", " ", "a:b:c:d", "<b>", "a'b", "x" * 251, "a:" + "x" * 31, "__proto__", "\ud800"])
def test_tr_13_what_the_server_would_refuse_is_never_sent(label: str) -> None:
    """It would take the rest of its batch along."""
    scenario = f"""
        const tab = new Tab(), page = tab.open();
        page.track({json.dumps(label)}, "good"); page.tick(1000); await settle();
        return tab.requests.map(({{labels}}) => labels);
    """

    assert run(scenario) == [["good"]]


def test_the_script_knows_the_characters_that_the_server_knows() -> None:
    """Over all code points that this Python's Unicode has."""
    scenario = r"""
        const NAME = eval(SOURCE.match(/NAME = (.*);/)[1]);
        return [...Array(0x110000).keys()].filter((point) => NAME.test("a" + String.fromCodePoint(point)));
    """.replace("SOURCE", json.dumps(SCRIPT.read_text()))
    known = {point for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) not in ("Cn", "Cs")}

    assert {point for point in run(scenario) if point in known} == {
        point for point in known if _is_label_character(point)
    }


def _is_label_character(point: int) -> bool:
    try:
        check_label.__wrapped__(LabelKey(f"a{chr(point)}"))
    except Malformed:
        return False
    return True


def test_the_middle_button_counts_and_the_right_one_does_not() -> None:
    """A link that is opened in a new tab was clicked."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        page.click("a", {}, 0); page.click("b", {}, 1); page.click("c", {}, 2); page.tick(1000); await settle();
        return Object.keys(tab.counted);
    """

    assert run(scenario) == ["a:None:None", "b:None:None"]


def test_a_click_on_a_label_and_its_field_counts_once() -> None:
    """The browser makes two clicks of one: on the text, and then on the field."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        const label = new Element({"data-track": "agree"}, null, "label"), field = new Element({}, label, "input");
        label.control = field;
        const text = new Element({}, label, "span");
        page.fire("click", {target: text, button: 0}); page.fire("click", {target: field, button: 0});
        page.tick(1000); await settle();
        return tab.counted;
    """

    assert run(scenario) == {"agree:None:None": 1}


def test_clicks_elsewhere_and_strange_targets_count_nothing_and_throw_nothing() -> None:
    """Nor does footfall.track with what is no label."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        page.fire("click", {target: new Element(), button: 0});
        page.fire("click", {target: {}, button: 0});
        page.fire("click", {target: null, button: 0});
        page.track(); page.track(null, undefined, 7, {}, []); page.track(Symbol.iterator);
        page.tick(1000); page.leave(); await settle();
        return Object.keys(tab.counted);
    """

    assert run(scenario) == ["7"]


# -- When


def test_labels_wait_a_second_for_each_other() -> None:
    """One request, with the page's token, to the address that the page names."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        page.track("a", "b|c"); page.tick(500); page.track("a:b:c"); page.tick(499);
        const before = tab.requests.length;
        page.tick(1); await settle(); page.tick(100000); await settle();
        return [before, tab.requests];
    """
    before, requests = run(scenario)

    assert before == 0
    assert [(one["how"], one["url"], one["token"], one["labels"]) for one in requests] == [
        ("fetch", "/track/", "t0ken", ["a", "b", "c", "a:b:c"])
    ]


def test_twenty_labels_go_at_once() -> None:
    """And never more in one request."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        for (let n = 0; n < 47; n++) page.track("a" + n);
        const sizes = tab.requests.map(({labels}) => labels.length);
        page.leave(); await settle();
        return [sizes, tab.requests.map(({labels}) => labels.length), tab.counted];
    """
    at_once, in_all, counted = run(scenario)

    assert at_once == [20, 20]
    assert in_all == [20, 20, 7]
    assert counted == {f"a{n}": 1 for n in range(47)}


def test_a_request_stays_below_the_servers_limit() -> None:
    """The longest labels there are, in letters of three bytes each."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        const long = "\u4e2d".repeat(250) + ":" + "\u4e2d".repeat(30) + ":" + "\u4e2d".repeat(50);
        for (let n = 0; n < 40; n++) page.track(long);
        page.leave(); await settle();
        return [Math.max(...tab.requests.map(({size}) => size)), Object.values(tab.counted)];
    """
    size, counted = run(scenario)

    assert size < 10_000
    assert counted == [40]


def test_leaving_sends_a_beacon() -> None:
    """Whatever was clicked in the last second; pagehide after visibilitychange sends nothing again."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        page.track("a"); page.leave(); page.leave(); page.tick(5000); await settle();
        return tab.requests.map(({how, labels}) => [how, labels]);
    """

    assert run(scenario) == [["beacon", ["a"]]]


@pytest.mark.parametrize("beacon", ["false", '"throw"', '"missing"'])
def test_where_no_beacon_goes_fetch_goes(beacon: str) -> None:
    """With keepalive, so that it outlives the page."""
    scenario = f"""
        const tab = new Tab({{beacon: {beacon}}}), page = tab.open();
        page.track("a"); page.leave(); await settle();
        return [tab.requests.map(({{how, labels}}) => [how, labels]), [...tab.storage]];
    """

    assert run(scenario) == [[["fetch", ["a"]]], []]


def test_a_browser_whose_fetch_does_not_outlive_the_page_sends_beacons_only() -> None:
    """Else a page that is left within the request would lose it."""
    scenario = """
        const tab = new Tab({keepalive: false}), page = tab.open();
        page.track("a"); page.tick(1000); await settle();
        return tab.requests.map(({how}) => how);
    """

    assert run(scenario) == ["beacon"]


# -- What is refused


@pytest.mark.parametrize("fetch", ['"fail"', '"throw"', '"missing"', "429", "500", "503"])
@pytest.mark.parametrize("beacon", ["false", '"throw"', '"missing"'])
def test_where_both_are_refused_the_next_page_of_the_tab_sends(beacon: str, fetch: str) -> None:
    """Once, and nothing is left in the storage."""
    scenario = f"""
        const tab = new Tab({{beacon: {beacon}, fetch: {fetch}}}), first = tab.open();
        first.track("a"); first.click("b"); first.leave(); await settle();
        const kept = [...tab.storage.values()].map(JSON.parse);
        Object.assign(tab.network, {{beacon: true, fetch: 200}});
        const second = tab.open();
        second.tick(1000); await settle(); second.leave(); await settle();
        const third = tab.open(); third.tick(1000); third.leave(); await settle();
        return [kept.flat().sort(), tab.counted, [...tab.storage]];
    """

    assert run(scenario) == [["a", "b:None:None"], {"a": 1, "b:None:None": 1}, []]


def test_without_a_network_a_beacon_is_not_believed() -> None:
    """The browser takes it and loses it."""
    scenario = """
        const tab = new Tab({online: false}), first = tab.open();
        first.track("a"); first.leave(); await settle();
        const before = tab.requests.length;
        tab.network.online = true;
        const second = tab.open(); second.tick(1000); await settle();
        return [before, tab.counted];
    """

    assert run(scenario) == [0, {"a": 1}]


@pytest.mark.parametrize("fetch", ['"fail"', '"throw"', "429", "500"])
def test_what_fails_is_tried_again_after_half_a_minute(fetch: str) -> None:
    """Not with each click: a server that says enough is left alone."""
    scenario = f"""
        const tab = new Tab({{fetch: {fetch}}}), page = tab.open();
        page.track("a"); page.tick(1000); await settle(); page.tick(0);
        for (let n = 0; n < 30; n++) page.track("b");
        page.tick(20000); await settle();
        const tries = tab.requests.length;
        tab.network.fetch = 200;
        page.tick(10000); await settle();
        return [tries, tab.counted, [...tab.storage]];
    """
    tries, counted, stored = run(scenario)

    assert tries == (0 if fetch == '"throw"' else 1)
    assert counted == {"a": 1, "b": 30}
    assert stored == []


def test_the_queue_is_bounded() -> None:
    """A page that is open for days without a network does not grow."""
    scenario = """
        const tab = new Tab({fetch: "fail", beacon: false}), page = tab.open();
        for (let n = 0; n < 1000; n++) page.track("a" + n);
        await settle(); page.tick(30000); await settle(); page.leave(); await settle();
        return JSON.parse([...tab.storage.values()][0]).length;
    """

    assert run(scenario) == 200


def test_labels_that_the_site_does_not_allow_are_dropped_and_their_neighbours_count() -> None:
    """A 400 is not tried again for ever."""
    scenario = """
        const tab = new Tab({refused: ["bad", "worse"]}), page = tab.open();
        page.track("a", "bad", "b", "worse"); page.tick(1000); await settle();
        page.tick(60000); await settle(); page.leave(); await settle();
        return [tab.counted, tab.requests.length, [...tab.storage]];
    """

    assert run(scenario) == [{"a": 1, "b": 1}, 5, []]


@pytest.mark.parametrize("status", [403, 404])
def test_another_refusal_is_the_end_of_it(status: int) -> None:
    """To say it again changes nothing."""
    scenario = f"""
        const tab = new Tab({{fetch: {status}}}), page = tab.open();
        page.track("a", "b"); page.tick(1000); await settle(); page.tick(60000); page.leave(); await settle();
        return tab.requests.length;
    """

    assert run(scenario) == 1


# -- Exactly once


@pytest.mark.parametrize("before", ["", "page.cut(); await settle();"], ids=["leaving", "before"])
def test_what_is_on_its_way_is_not_sent_again_when_the_page_goes(before: str) -> None:
    """The browser has it, whatever it says to the page that is left, or is about to be."""
    scenario = """
        const tab = new Tab({fetch: "hang"}), page = tab.open();
        page.track("a"); page.tick(1000); BEFORE page.leave(); await settle();
        page.comeBack(); page.tick(60000); page.leave(); await settle();
        const next = tab.open(); next.tick(1000); await settle();
        return tab.requests.length;
    """

    assert run(scenario.replace("BEFORE", before)) == 1


def test_a_page_from_the_back_forward_cache_does_not_send_what_the_next_page_sent() -> None:
    """While a page is hidden, its queue is in the tab's storage and only there."""
    scenario = """
        const tab = new Tab({beacon: false, fetch: "throw"}), first = tab.open();
        first.track("a"); first.leave();
        Object.assign(tab.network, {beacon: true, fetch: 200});
        const second = tab.open(); second.tick(1000); await settle(); second.leave();
        first.comeBack(); first.track("b"); first.tick(60000); await settle();
        return tab.counted;
    """

    assert run(scenario) == {"a": 1, "b": 1}


def test_a_tab_that_was_hidden_goes_on() -> None:
    """With what it could not send."""
    scenario = """
        const tab = new Tab({beacon: false, fetch: "fail"}), page = tab.open();
        page.track("a"); page.hide(); await settle();
        Object.assign(tab.network, {beacon: true, fetch: 200});
        page.show(); page.track("b"); page.tick(30000); await settle();
        return [tab.counted, [...tab.storage]];
    """

    assert run(scenario) == [{"a": 1, "b": 1}, []]


def test_without_storage_a_page_still_counts() -> None:
    """Some browsers forbid it; then what is refused waits in the page."""
    scenario = """
        const tab = new Tab({storage: false, beacon: false, fetch: "throw"}), page = tab.open();
        page.track("a"); page.hide();
        Object.assign(tab.network, {beacon: true, fetch: 200});
        page.show(); page.tick(30000); await settle();
        return tab.counted;
    """

    assert run(scenario) == {"a": 1}


@pytest.mark.parametrize("rubbish", ["{", "7", "null", '{"a":1}', '[null,{},"<b>"]'])
def test_rubbish_in_the_storage_is_thrown_away(rubbish: str) -> None:
    """Another script may have written there."""
    scenario = f"""
        const tab = new Tab(); tab.storage.set("footfall", {json.dumps(rubbish)});
        const page = tab.open(); page.track("a"); page.tick(1000); await settle();
        return [tab.counted, [...tab.storage]];
    """
    counted, stored = run(scenario)

    assert counted.get("a") == 1 and "<b>" not in counted
    assert stored == []


def test_a_second_inclusion_does_nothing() -> None:
    """One click stays one."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        page.include(); page.include();
        page.click("a"); page.tick(1000); await settle();
        return tab.counted;
    """

    assert run(scenario) == {"a:None:None": 1}


def test_an_element_named_footfall_does_not_hide_the_script() -> None:
    """Browsers make a variable of each id."""
    scenario = """
        const tab = new Tab(), page = tab.open();
        page.window.footfall = {}; page.include(); page.track("a"); page.tick(1000); await settle();
        return tab.counted;
    """

    assert run(scenario) == {"a": 1}


def test_a_page_that_opens_in_the_background_counts() -> None:
    """And sends what an earlier page of the tab left."""
    scenario = """
        const tab = new Tab(); tab.storage.set("footfall", '["old"]');
        const page = tab.open({hidden: true}); page.track("a"); page.tick(1000); await settle();
        return tab.counted;
    """

    assert run(scenario) == {"old": 1, "a": 1}


def test_whatever_happens_every_label_counts_exactly_once() -> None:
    """Random clicks, failures, hidings and pages, a hundred times; the network never lies, and in the end it works."""
    randoms = [random.Random(seed) for seed in range(100)]
    ways = [[(one.randrange(8), one.randrange(12)) for _ in range(300)] for one in randoms]
    scenario = f"""
        const live = async (steps) => {{
          const tab = new Tab();
          let page = tab.open(), n = 0;
          for (const [what, how] of steps) {{
            if (what === 0) tab.network.fetch = [200, 429, 500, "throw", "hang"][how % 5];
            else if (what === 1) tab.network.beacon = [true, false, "throw"][how % 3];
            else if (what === 2) {{ page.hide(); if (how % 2) await settle(); page.show(); }}
            else if (what === 3) {{ page.leave(); await settle(); page = tab.open({{hidden: how === 0}}); }}
            else if (what === 4) {{ page.tick([10, 1000, 30000][how % 3]); await settle(); }}
            else if (n < 150) page.track("l" + n++);
          }}
          Object.assign(tab.network, {{fetch: 200, beacon: true}});
          await settle(); page.tick(60000); await settle(); page.leave(); await settle();
          return [n, Object.keys(tab.counted).length, Math.max(...Object.values(tab.counted)), tab.storage.size];
        }};
        return Promise.all({json.dumps(ways)}.map(live));
    """

    for published, counted, most, stored in run(scenario):
        assert published > 60
        assert (counted, most, stored) == (published, 1, 0)
