"""To follow somebody: the button beside their name, the badge in the navigation, and the feed on the front page."""

from urllib.parse import urlsplit

from browser.newsstand import Newsstand
from browser.person import Person
from processes import eventually
from selenium.webdriver.common.by import By

#: Article n is by visitor n: so it was made.
BY = "/articles/{}/"


def _unread(person: Person) -> int:
    badge = person.run("const badge = document.getElementById('unread-count'); return badge && badge.textContent;")
    return int(badge or 0)


def _told(person: Person) -> list[tuple[bool, str]]:
    """The lines of the feed, and whether each is marked as new."""
    found = (
        "return Array.from(document.querySelectorAll('.footfall-item'),"
        " item => [item.classList.contains('footfall-new'), item.querySelector('.footfall-action').innerText])"
    )
    return [(is_new, text) for is_new, text in person.run(found)]


def _buttons(person: Person, name: str) -> int:
    return len(person.browser.find_elements(By.XPATH, f"//button[@aria-label='{name}']"))


def _becomes(person: Person, name: str) -> None:
    person.press("Sign out")
    person.sign_in(name)


def _comments(newsstand: Newsstand, name: str, count: int) -> None:
    """Somebody comments on some articles, elsewhere."""
    newsstand.manage(
        "shell",
        "--verbosity=0",
        "-c",
        "from django.contrib.auth.models import User\n"
        "from articles.models import Article\n"
        "from footfall.producers import publish_action\n"
        f"for article in Article.objects.all()[:{count}]:\n"
        f"    publish_action(User.objects.get(username={name!r}), 'commented', article, tickets={{}})\n",
    )
    eventually(newsstand.is_settled)


def test_what_somebody_does_is_new_once(newsstand: Newsstand, person: Person) -> None:
    """From the button to the badge, and read by being shown."""
    person.sign_in("visitor-05")
    assert "Nothing has happened yet." in person.run("return document.body.innerText")
    person.open(BY.format(6))
    person.press("Follow visitor-06")
    assert urlsplit(person.browser.current_url).path == BY.format(6)
    assert _buttons(person, "Unfollow visitor-06") == 1

    _becomes(person, "visitor-06")
    title = person.run("return document.getElementById('article-3').textContent")
    person.open(BY.format(3))
    person.press("I like it")
    eventually(newsstand.is_settled)

    _becomes(person, "visitor-05")
    ((is_new, text),) = _told(person)
    assert (_unread(person), is_new, text) == (1, True, f"visitor-06 liked {title}, just now")
    person.picture("front")

    eventually(newsstand.is_settled)
    person.open("/")
    ((is_new, _text),) = _told(person)
    assert (_unread(person), is_new) == (0, False)
    assert person.complaints() == []


def test_whom_one_no_longer_follows_one_no_longer_hears_of(newsstand: Newsstand, person: Person) -> None:
    person.sign_in("visitor-07")
    person.open(BY.format(8))
    person.press("Follow visitor-08")
    _comments(newsstand, "visitor-08", 1)
    person.open(BY.format(8))
    assert _unread(person) == 1

    person.press("Unfollow visitor-08")

    assert _buttons(person, "Follow visitor-08") == 1
    assert _unread(person) == 0
    person.open("/")
    assert _told(person) == []


def test_all_is_marked_as_read_at_once(newsstand: Newsstand, person: Person) -> None:
    """Also what is on later pages; those are a link away."""
    person.sign_in("visitor-09")
    person.open(BY.format(10))
    person.press("Follow visitor-10")
    _comments(newsstand, "visitor-10", 7)
    person.open("/")
    assert _unread(person) == 7
    assert [is_new for is_new, _text in _told(person)] == [True] * 5

    person.press("Mark all as read")

    assert _unread(person) == 0
    assert [is_new for is_new, _text in _told(person)] == [False] * 5
    person.browser.find_element(By.LINK_TEXT, "Older").click()
    person.wait().until(lambda _: "after=" in person.browser.current_url)
    person.wait().until(lambda _: [is_new for is_new, _text in _told(person)] == [False] * 2)


def test_an_article_is_followed_for_what_is_said_of_it(newsstand: Newsstand, person: Person) -> None:
    """By whomever; what was said before is there, and nothing new."""
    person.sign_in("visitor-11")
    title = person.run("return document.getElementById('article-1').textContent")
    person.open(BY.format(1))
    person.press(f"Follow {title}")
    _comments(newsstand, "visitor-12", 1)
    person.open("/")
    assert [text for is_new, text in _told(person) if is_new] == [f"visitor-12 commented on {title}, just now"]


def test_a_stranger_is_led_to_the_login_and_back(person: Person) -> None:
    person.open(BY.format(2))
    person.browser.find_element(By.XPATH, "//a[@aria-label='Follow visitor-02']").click()
    person.wait().until(lambda _: "/sign-in/" in person.browser.current_url)
    person.browser.find_element(By.NAME, "username").send_keys("visitor-12")
    person.browser.find_element(By.NAME, "password").send_keys("let-me-in")
    person.press("Sign in")
    assert urlsplit(person.browser.current_url).path == BY.format(2)
    assert _buttons(person, "Follow visitor-02") == 1
