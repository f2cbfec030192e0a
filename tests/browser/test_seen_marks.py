"""What a reader has not seen yet: the badge in the navigation and the marks beside the headlines."""

from browser.newsstand import Newsstand
from browser.person import Person
from processes import eventually

ARTICLES = 12


def _badge(person: Person) -> int:
    badge = person.run("const badge = document.getElementById('unseen-count'); return badge && badge.textContent;")
    return int(badge or 0)


def _new(person: Person) -> set[str]:
    """The headlines that are marked as new."""
    found = (
        "return Array.from(document.querySelectorAll('.articles .new'), mark => mark.parentNode.querySelector('a').id)"
    )
    return set(person.run(found))


def test_a_reading_takes_one_off_the_badge(newsstand: Newsstand, person: Person) -> None:
    """Out of band: soon after the article was read, and only that one."""
    person.sign_in("visitor-01")
    assert _badge(person) == ARTICLES == len(_new(person))
    person.follow("article-5")
    eventually(newsstand.is_settled)
    person.open("/")
    assert _badge(person) == ARTICLES - 1 == len(_new(person))
    assert "article-5" not in _new(person)


def test_marking_at_once_shows_on_the_page_that_comes_next(newsstand: Newsstand, person: Person) -> None:
    """The button's end-point writes in the request and leads back to where the reader was."""
    person.sign_in("visitor-02")
    assert _badge(person) == ARTICLES
    person.press("I have seen these")
    assert person.browser.current_url == f"{newsstand.url}/"
    assert _badge(person) == 0
    assert _new(person) == set()


def test_marking_out_of_band_shows_soon(newsstand: Newsstand, person: Person) -> None:
    person.sign_in("visitor-03")
    person.open("/unseen/")
    assert len(person.run("return document.querySelectorAll('.articles > li')")) == ARTICLES
    person.press("Mark all as seen")
    eventually(newsstand.is_settled)
    person.open("/unseen/")
    assert _badge(person) == 0
    assert "You have seen everything." in person.run("return document.body.innerText")


def test_an_edited_article_is_new_again(newsstand: Newsstand, person: Person) -> None:
    person.sign_in("visitor-04")
    person.press("I have seen these")
    newsstand.manage(
        "shell", "--verbosity=0", "-c", "from articles.models import Article; Article.objects.get(pk=7).save()"
    )
    person.open("/")
    assert _badge(person) == 1
    assert _new(person) == {"article-7"}


def test_a_stranger_sees_no_badge(newsstand: Newsstand, person: Person) -> None:
    person.open("/")
    assert _badge(person) == 0
    assert _new(person) == set()
