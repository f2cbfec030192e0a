"""Dead letters in the admin: who may do what, what a page shows, and that nothing stored acts on a page."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils.module_loading import import_string
from newsroom.models import Article, ArticleTotals
from pytest_django import DjangoAssertNumQueries

from footfall.producers.messages import Increment, Ref, encode_event, encode_message, new_id
from footfall.producers.settings import conf
from footfall.storage.letteradmin import SHOWN_BYTES
from footfall.storage.letters import discard, mend
from footfall.storage.models import Action, ActionObject, DeadLetter, SpiderTally, Statistic, Tally
from footfall.workers.pipeline import Delivery, apply
from footfall.workers.replay import replay

pytestmark = pytest.mark.django_db

QUEUE = "footfall.increments"
NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
XSS = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'"
LIST = "admin:footfall_storage_deadletter_changelist"

Login = Callable[..., Client]


@pytest.fixture
def login() -> Login:
    """A client signed in as a member of the staff with these permissions on dead letters."""

    def login(*codes: str) -> Client:
        user = User.objects.create(username=f"staff {User.objects.count()}", is_staff=True)
        names = [f"{code}_deadletter" for code in codes]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(user)
        return client

    return login


@pytest.fixture
def operator(login: Login) -> Client:
    return login("view", "change", "replay", "discard")


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="Read by many")


def increment(article: Article, field: str = "views") -> bytes:
    ref = Ref("newsroom.article", str(article.pk))
    now = datetime.now(UTC)
    return encode_event(Increment(id=new_id(), at=now, dataset="newsroom.articletotals", object=ref, field=field))


def dead(body: bytes, queue: str = QUEUE) -> DeadLetter:
    assert apply([Delivery(body, queue)]).dead == 1
    return DeadLetter.objects.order_by("-pk")[0]


@pytest.fixture
def letter(article: Article) -> DeadLetter:
    """One event of a message: it names a field that is not there."""
    event = increment(article, "viewz")
    return dead(encode_message(QUEUE, new_id(), time.time_ns() // 1_000_000, [event]))


def views(article: Article) -> int:
    return sum(ArticleTotals.objects.filter(object_id=str(article.pk)).values_list("views", flat=True))


def page(letter: DeadLetter) -> str:
    return reverse("admin:footfall_storage_deadletter_change", args=[letter.pk])


def button(letter: DeadLetter, name: str) -> str:
    return reverse(f"admin:footfall_storage_deadletter_{name}", args=[letter.pk])


def save(client: Client, letter: DeadLetter, text: str) -> Any:
    return client.post(page(letter), {"mended": text, "_continue": "1"}, follow=True)


def act(client: Client, action: str, *letters: DeadLetter) -> Any:
    return client.post(reverse(LIST), {"action": action, "_selected_action": [x.pk for x in letters]}, follow=True)


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def state(letter: DeadLetter) -> str:
    letter.refresh_from_db()
    return letter.state


# -- Mend and replay


def test_a_letter_mended_and_replayed_is_applied_once(operator: Client, letter: DeadLetter, article: Article) -> None:
    """The way of the operator, with the buttons; a second replay changes nothing."""
    mended = increment(article).decode()

    save(operator, letter, mended)
    first = operator.post(button(letter, "replay"), follow=True)
    second = operator.post(button(letter, "replay"), follow=True)

    assert said(first) == ["1 dead letter replayed."]
    assert said(second) == ["Nothing to replay: no letter of them is open."]
    assert (state(letter), views(article)) == ("replayed", 1)


def test_an_edit_is_kept_beside_the_original_with_who_and_when(
    operator: Client, letter: DeadLetter, article: Article
) -> None:
    """Nothing else of the row changes."""
    before: dict[str, Any] = {**DeadLetter.objects.values().get()}
    mended = increment(article)

    save(operator, letter, mended.decode())

    after: dict[str, Any] = {**DeadLetter.objects.values().get()}
    assert (bytes(after.pop("edited_body")), after.pop("edited_by")) == (mended, "staff 0")
    assert abs(after.pop("edited_at") - datetime.now(UTC)) < timedelta(minutes=1)
    assert after.items() <= before.items()


def test_an_edit_of_bytes_that_are_no_text_begins_empty(operator: Client, article: Article) -> None:
    """Whoever types new text mends it all the same."""
    letter = dead(b"\xff\xfe")
    assert operator.get(page(letter)).context["adminform"].form.initial["mended"] == ""

    save(operator, letter, "é\r\nline")

    letter.refresh_from_db()
    assert bytes(letter.edited_body or b"") == "é\nline".encode()


def test_saving_without_a_change_mends_nothing(operator: Client) -> None:
    """Although a browser turns line ends into its own."""
    letter = dead(b"{\n  \r\n")

    save(operator, letter, "{\r\n  \r\n")

    letter.refresh_from_db()
    assert letter.edited_at is None


def test_an_emptied_edit_takes_the_original_again(operator: Client, letter: DeadLetter) -> None:
    """As if it had never been mended."""
    save(operator, letter, "oops")
    save(operator, letter, "")

    letter.refresh_from_db()
    assert (letter.edited_body, letter.edited_by, letter.edited_at) == (None, "", None)


def test_the_list_replays_what_is_selected(operator: Client, article: Article) -> None:
    """And says what came of it, with the reasons of those that died again."""
    mended, other = dead(b"{"), dead(b"null")
    message = encode_message(QUEUE, new_id(), time.time_ns() // 1_000_000, [increment(article)])
    save(operator, mended, message.decode())

    response = act(operator, "replay_selected", mended, other)

    assert said(response) == ["1 dead letter replayed.", "1 still dead: bad_envelope (1)."]
    assert (state(mended), state(other), views(article)) == ("replayed", "open", 1)


def test_a_replay_that_raises_is_told(operator: Client, letter: DeadLetter, settings: Any) -> None:
    """Whatever the setting REPLAY names, the operator gets a page that says why."""
    settings.FOOTFALL = {**settings.FOOTFALL, "REPLAY": f"{__name__}.failing_replay"}

    for response in (act(operator, "replay_selected", letter), operator.post(button(letter, "replay"), follow=True)):
        (text,) = said(response)
        assert text.startswith("The replay stopped:")


def test_a_request_replays_a_bounded_number(
    operator: Client, article: Article, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says what is left for the command."""
    monkeypatch.setattr("footfall.storage.letteradmin.REPLAY_LIMIT", 2)
    letters = [dead(b"{" * n) for n in range(1, 4)]

    response = act(operator, "replay_selected", *letters)

    assert said(response)[-1].startswith("1 are left")
    assert sorted(DeadLetter.objects.values_list("attempts", flat=True)) == [1, 2, 2]


# -- Discard


def test_discard_settles_and_keeps_the_row(operator: Client, letter: DeadLetter) -> None:
    """By the button; what is settled is not discarded again."""
    first = operator.post(button(letter, "discard"), follow=True)
    second = operator.post(button(letter, "discard"), follow=True)

    assert said(first) == ["1 dead letter discarded."]
    assert said(second) == ["Nothing to discard: no letter of them is open."]
    assert state(letter) == "discarded"


def test_the_list_discards_what_is_selected(operator: Client) -> None:
    """And nothing beside it."""
    one, two, three = dead(b"{"), dead(b"["), dead(b"<")

    response = act(operator, "discard_selected", one, three)

    assert said(response) == ["2 dead letters discarded."]
    assert [state(letter) for letter in (one, two, three)] == ["discarded", "open", "discarded"]


# -- Permissions


@pytest.mark.parametrize("name", ["replay", "discard"])
@pytest.mark.parametrize("codes", [("view",), ("view", "change"), ("other",)], ids="+".join)
def test_each_action_needs_its_own_permission(
    login: Login, letter: DeadLetter, codes: tuple[str, ...], name: str
) -> None:
    """It is hidden without it, and refused to whoever asks all the same."""
    other = {"replay": "discard", "discard": "replay"}[name]
    client = login(*(("view", other) if codes == ("other",) else codes))

    assert f"{name}_selected" not in client.get(reverse(LIST)).content.decode()
    assert button(letter, name) not in client.get(page(letter)).content.decode()
    assert client.post(button(letter, name)).status_code == 403
    act(client, f"{name}_selected", letter)

    letter.refresh_from_db()
    assert (letter.state, letter.attempts) == ("open", 1)


@pytest.mark.parametrize("name", ["replay", "discard"])
def test_whoever_has_the_permission_sees_the_action(login: Login, letter: DeadLetter, name: str) -> None:
    """Together with the permission to look; no other one is needed."""
    client = login("view", name)

    assert f"{name}_selected" in client.get(reverse(LIST)).content.decode()
    assert button(letter, name) in client.get(page(letter)).content.decode()
    assert client.post(button(letter, name)).status_code == 302


@pytest.mark.parametrize("name", ["replay", "discard"])
def test_an_action_on_a_letter_needs_the_permission_to_look(login: Login, letter: DeadLetter, name: str) -> None:
    """Its own alone opens nothing."""
    assert login(name).post(button(letter, name)).status_code == 403
    assert state(letter) == "open"


@pytest.mark.parametrize("name", ["replay", "discard"])
def test_a_link_changes_nothing(operator: Client, letter: DeadLetter, name: str) -> None:
    """Buttons post."""
    assert operator.get(button(letter, name)).status_code == 405
    assert state(letter) == "open"


@pytest.mark.parametrize("name", ["replay", "discard"])
def test_another_site_can_not_press_a_button(operator: Client, letter: DeadLetter, name: str) -> None:
    """Posts need the token that only our own pages have."""
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies

    assert strict.post(button(letter, name)).status_code == 403
    assert state(letter) == "open"


def test_a_stranger_is_asked_to_sign_in(letter: DeadLetter) -> None:
    """For pages and buttons alike."""
    for response in (Client().get(page(letter)), Client().post(button(letter, "replay"))):
        assert "/admin/login/" in response["Location"]


def test_a_letter_is_mended_only_with_the_permission_to_change(login: Login, letter: DeadLetter) -> None:
    """Others see the bytes, without a field."""
    client = login("view", "replay", "discard")

    assert 'name="mended"' not in client.get(page(letter)).content.decode()
    assert save(client, letter, "mine").status_code == 403

    letter.refresh_from_db()
    assert letter.edited_body is None


def test_a_settled_letter_is_shown_and_not_mended(operator: Client, letter: DeadLetter) -> None:
    """With the bytes that were replayed beside the original, and without buttons."""
    mend(letter, b"the mended bytes", "ann", NOW)
    discard(DeadLetter.objects.all(), "ann", NOW)

    shown = operator.get(page(letter)).content.decode()

    assert "the mended bytes" in shown and "viewz" in shown
    assert 'name="mended"' not in shown
    assert button(letter, "replay") not in shown
    assert save(operator, letter, "mine").status_code == 403


def test_a_letter_that_is_settled_while_it_is_saved_is_not_mended(
    operator: Client, letter: DeadLetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row's state decides, not the page's."""
    DeadLetter.objects.update(state="replayed")
    monkeypatch.setattr("footfall.storage.letteradmin._is_open", lambda letter: True)

    assert save(operator, letter, "mine").status_code == 403

    letter.refresh_from_db()
    assert letter.edited_body is None


def test_nobody_adds_or_deletes_letters(letter: DeadLetter, admin_client: Client) -> None:
    """Not even a superuser: what came, came."""
    assert admin_client.get(reverse("admin:footfall_storage_deadletter_add")).status_code == 403
    delete = reverse("admin:footfall_storage_deadletter_delete", args=[letter.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    act(admin_client, "delete_selected", letter)

    assert DeadLetter.objects.count() == 1


# -- What a page shows


def test_what_strangers_wrote_is_escaped_on_every_page(admin_client: Client) -> None:
    """A script in a body, an error, a label or a name is text."""
    letter = dead(b'{"' + XSS.encode())
    mend(letter, XSS.encode(), XSS, NOW)
    DeadLetter.objects.update(error=XSS, queue=XSS, kind=XSS[:16])
    settled = dead(b"[" + XSS.encode())
    mend(settled, XSS.encode(), XSS, NOW)
    DeadLetter.objects.filter(pk=settled.pk).update(state="replayed", error=XSS)
    statistic = Statistic.objects.create(label=XSS, category=XSS[:30], dom_id=XSS[:50], day=NOW.date())
    tally = SpiderTally.objects.create(day=NOW.date(), spider=XSS)
    action = Action.objects.create(id=new_id(), actor_type=XSS, actor_id=XSS, verb=XSS, timestamp=NOW, data={XSS: XSS})
    ActionObject.objects.create(action=action, role="t", object_type=XSS, object_id=XSS)
    rows: list[Any] = [letter, settled, statistic, tally, action]

    pages = [reverse(f"admin:footfall_storage_{row._meta.model_name}_change", args=[row.pk]) for row in rows]
    pages += [reverse(f"admin:footfall_storage_{row._meta.model_name}_changelist") for row in rows]
    pages += [reverse(LIST) + "?q=%3Cscript%3Ealert"]

    for url in pages:
        shown = admin_client.get(url).content.decode()
        assert "&lt;script&gt;alert(" in shown, url
        assert "<script>alert" not in shown and "<img src=x" not in shown, url


def test_messages_escape_what_a_replay_says(operator: Client, letter: DeadLetter, settings: Any) -> None:
    """An error of the database may quote what a stranger wrote."""
    settings.FOOTFALL = {**settings.FOOTFALL, "REPLAY": f"{__name__}.failing_replay"}

    shown = operator.post(button(letter, "replay"), follow=True).content.decode()

    assert "&lt;script&gt;alert(" in shown
    assert "<script>alert" not in shown


def failing_replay(*arguments: Any, **options: Any) -> None:
    raise RuntimeError(XSS)


def test_bytes_are_shown_as_text_with_escapes_or_as_a_hexdump(operator: Client) -> None:
    """A body that is nearly text stays readable."""
    text, binary = dead(b'{"name": "\x1b[2J\xff'), dead(bytes(range(128, 160)))

    assert r"{&quot;name&quot;: &quot;\x1b[2J\xff" in operator.get(page(text)).content.decode()
    assert f"00000010  {bytes(range(144, 160)).hex(' ')}" in operator.get(page(binary)).content.decode()


def test_a_large_body_is_cut_with_a_note_and_not_edited_in_a_page(operator: Client) -> None:
    """A page stays a page; saving it doesn't mend the letter to nothing."""
    letter = dead(b"{" + b"x" * 200_000)

    response = operator.get(page(letter))
    save(operator, letter, "")

    letter.refresh_from_db()
    assert f"{SHOWN_BYTES} of 200001 bytes" in response.content.decode()
    assert len(response.content) < 2 * SHOWN_BYTES
    assert letter.edited_at is None


# -- The list


def test_the_list_takes_few_queries_and_leaves_the_bytes(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """However many letters there are, with a filter and with a search."""
    for n in range(1, 60):
        dead(b"{" * n)

    for query in ("", "?reason__exact=not_json&kind=increment", "?q=JSON"):
        with django_assert_max_num_queries(8) as captured:
            response = operator.get(reverse(LIST) + query)
        assert len(response.context["cl"].result_list) == 50
        assert not any('"body"' in captured_query["sql"] for captured_query in captured.captured_queries)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param("state__exact=open", {"json", "view", "event"}, id="state"),
        pytest.param("state__exact=discarded", {"gone"}, id="another state"),
        pytest.param("reason__exact=unknown_field", {"event"}, id="reason"),
        pytest.param("kind=view", {"view"}, id="kind"),
        pytest.param("queue=footfall.views", {"view"}, id="queue"),
        pytest.param("stage__exact=fold", {"event"}, id="stage"),
        pytest.param("last_seen__year=2001", {"json"}, id="date"),
        pytest.param("q=viewz", {"event"}, id="words of the error"),
        pytest.param("q=no+such+words", set(), id="other words"),
    ],
)
def test_filters_select_what_they_say(operator: Client, letter: DeadLetter, query: str, names: set[str]) -> None:
    """Each by itself."""
    letters = {"event": letter, "json": dead(b"{"), "view": dead(b"null", "footfall.views"), "gone": dead(b"[")}
    discard(DeadLetter.objects.filter(pk=letters["gone"].pk), "ann", NOW)
    DeadLetter.objects.filter(pk=letters["json"].pk).update(last_seen=datetime(2001, 2, 3, tzinfo=UTC))

    found = operator.get(f"{reverse(LIST)}?{query}").context["cl"].result_list

    assert {row.pk for row in found} == {letters[name].pk for name in names}


@pytest.mark.parametrize("field", ["message_id", "event_id"])
@pytest.mark.parametrize("write", [str, lambda number: number.hex], ids=["dashes", "hex"])
def test_a_letter_is_found_by_its_ids(
    operator: Client, letter: DeadLetter, field: str, write: Callable[[UUID], str]
) -> None:
    """Whole ids, as they stand in a log."""
    dead(b"{")

    found = operator.get(reverse(LIST), {"q": write(getattr(letter, field))}).context["cl"].result_list

    assert [row.pk for row in found] == [letter.pk]


# -- The read-only books


@pytest.fixture
def books() -> list[Any]:
    """A row of each of the books."""
    return [
        Tally.objects.create(hour=NOW, kind="view", name="applied", count=5),
        SpiderTally.objects.create(day=NOW.date(), spider="Googlebot", count=5),
        Statistic.objects.create(label="signup", day=NOW.date(), counter=5),
    ]


def test_the_books_are_read_and_never_written(admin_client: Client, books: list[Any]) -> None:
    """Not even by a superuser."""
    for row in books:
        name = f"admin:footfall_storage_{row._meta.model_name}"
        assert admin_client.get(reverse(f"{name}_changelist")).status_code == 200
        assert admin_client.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
        assert admin_client.get(reverse(f"{name}_add")).status_code == 403
        assert admin_client.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403
        assert admin_client.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_a_day_of_the_books_can_be_chosen(admin_client: Client, books: list[Any]) -> None:
    """By the dates above the list."""
    for row, field in zip(books, ("hour", "day", "day"), strict=True):
        url = reverse(f"admin:footfall_storage_{row._meta.model_name}_changelist")
        for day, count in ((15, 1), (16, 0)):
            query = {f"{field}__year": 2026, f"{field}__month": 6, f"{field}__day": day}
            assert len(admin_client.get(url, query).context["cl"].result_list) == count


def test_the_admin_replays_as_the_command_does() -> None:
    """Storage imports no worker: the setting's default names the function that the command calls."""
    assert import_string(conf.REPLAY) is replay
