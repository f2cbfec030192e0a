"""The demo site's visitors: real HTTP requests of people who read, comment and like, and of spiders that read.

Standard library only; one thread is one visitor at a time, with a kept-alive connection. No request is tried again:
one that fails after it was sent is *unknown* in the log, since the server may have handled it.
"""

import argparse
import http.client
import random
import re
import select
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from useragents import BROWSERS, SPIDERS
from visitlog import Doing, Log, Visit

TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 120
PAUSE_SECONDS = 0.05
PROGRESS_SECONDS = 0.2

_LINK = re.compile(r'id="([\w-]+)" data-track="([\w:]+)" href="/articles/(\d+)/\?from=(\w+)"')
_LIKE_BUTTON = re.compile(r'action="/articles/\d+/(like|unlike)/"')
_FOLLOW_FORM = re.compile(
    r'<form class="footfall-follow" method="post" action="/footfall/(follow|unfollow)/([\w.]+)/(\d+)/">(.*?)</form>'
)
_OTHERS_TOO = 'name="actor_only"'
_FRESH = re.compile(r'<li id="action-([0-9a-f-]+)" class="footfall-item footfall-new">')
_ARTICLE_PATH = re.compile(r"/articles/(\d+)/")


class VisitorsError(Exception):
    """The visitors can't go on: nobody answers, or nobody is let in."""


class User(NamedTuple):
    """Whom to sign in as."""

    name: str
    password: str


class Answer(NamedTuple):
    """A response; ``status`` is 0 where none came."""

    status: int
    location: str
    page: str


class Link(NamedTuple):
    """A link to an article; ``label`` is what the page's script counts a click on it as."""

    label: str
    article: int
    came_from: str


#: Called now and then, on the thread that called `Visitors.run`, with the number of requests answered so far.
Progress = Callable[[int], None]


class NotSentError(Exception):
    """The server could not be reached, so that nothing happened."""


@dataclass(slots=True)
class _Budget:
    """How much is left to do, shared by all threads."""

    requests: int | None
    deadline: float | None
    stop: threading.Event
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _answered_at: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Take one request; False when the visitors are done."""
        if self.is_spent():
            return False
        with self._lock:
            if self.requests is not None:
                if self.requests <= 0:
                    return False
                self.requests -= 1
        return True

    def is_spent(self) -> bool:
        """Whether it is over, by number, time or order."""
        over = self.deadline is not None and time.monotonic() >= self.deadline
        return over or self.stop.is_set() or (self.requests is not None and self.requests <= 0)

    def give_back(self) -> None:
        """A request could not be sent: it does not count, and somebody may wait a moment for the server."""
        with self._lock:
            if self.requests is not None:
                self.requests += 1
            waited = time.monotonic() - self._answered_at
        if waited > PATIENCE_SECONDS:
            raise VisitorsError(f"nobody has answered for {waited:.0f} seconds")
        self.stop.wait(PAUSE_SECONDS)

    def answered(self) -> None:
        """The server lives."""
        self._answered_at = time.monotonic()


class Visitors:
    """Visitors of the demo site at ``base_url``, the same ones for the same ``seed``.

    ``users`` can sign in, ``articles`` are the primary keys that may be visited directly. Nobody else should use the
    same users meanwhile: what a like changes depends on what the same user did before.
    """

    def __init__(self, base_url: str, users: Sequence[User], articles: Sequence[int], seed: int = 1) -> None:
        self.base_url = base_url
        self.users = list(users)
        self.articles = list(articles)
        self.seed = seed
        self.log = Log()
        self._runs = 0

    def run(
        self,
        *,
        requests: int | None = None,
        seconds: float | None = None,
        threads: int = 4,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Log:
        """Visit until ``requests`` were sent, ``seconds`` have passed or ``stop`` is set; returns the log of it all.

        Blocks. A server that is away is waited for; raises VisitorsError when it stays away for two minutes, and for
        a user that can't sign in.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        budget = _Budget(requests, deadline, stop or threading.Event())
        self._runs += 1
        with ThreadPoolExecutor(threads, thread_name_prefix="visitor") as pool:
            walks = [pool.submit(self._walk, number, threads, budget) for number in range(threads)]
            try:
                self._watch(walks, progress)
            finally:
                budget.stop.set()
        return self.log

    def _watch(self, walks: list[Future[None]], progress: Progress | None) -> None:
        running = set(walks)
        while running:
            done, running = wait(running, timeout=PROGRESS_SECONDS, return_when=FIRST_EXCEPTION)
            for walk in done:
                walk.result()
            if progress is not None:
                progress(self.log.answered)

    def _walk(self, number: int, threads: int, budget: _Budget) -> None:
        chance = random.Random(f"{self.seed}/{self._runs}/{number}")  # noqa: S311 - traffic, no secrets
        walker = _Walker(self.base_url, self.articles, self.users[number::threads], chance, budget, self.log)
        try:
            while not budget.is_spent():
                walker.visit()
        finally:
            walker.leave()


class _Walker:
    """One thread's visitors, one after the other. A method that returns False says that the visit is over."""

    def __init__(
        self,
        base_url: str,
        articles: Sequence[int],
        users: Sequence[User],
        chance: random.Random,
        budget: _Budget,
        log: Log,
    ) -> None:
        self._connection = _Connection(base_url)
        self._articles = articles
        self._users = users
        self._chance = chance
        self._budget = budget
        self._log = log
        self._cookies: dict[User, dict[str, str]] = {}
        # Whether these users like, or follow, these is unknown since a request failed, so they leave it at that.
        self._in_doubt: set[tuple[User, int | str]] = set()
        self._user: User | None = None
        self._user_agent = ""
        self._jar: dict[str, str] = {}

    def leave(self) -> None:
        """Close the connection."""
        self._connection.close()

    def visit(self) -> None:
        """Somebody comes, looks around, reads some articles and goes."""
        is_person = self._arrive()
        if self._user is not None and not self._sign_in(self._user):
            return
        links = self._look_around(is_person)
        for _ in range(self._chance.randint(1, 5)):
            if links and self._chance.random() < 0.8:
                is_read = self._follow(self._chance.choice(links), is_person)
            else:
                # Early articles are read more, as the newest and the most talked about are anywhere.
                is_read = self._read(self._articles[self._skewed(len(self._articles))], None, is_person)
            if not is_read:
                return

    def _arrive(self) -> bool:
        """Decide who comes; True for a person at a browser, who may also write."""
        chance = self._chance
        kind = chance.choices(("person", "spider", "nameless"), (75, 20, 5))[0]
        agents = {"person": BROWSERS, "spider": SPIDERS, "nameless": ("",)}
        self._user_agent = chance.choice(agents[kind])
        # Some spiders come with a reader's cookies: link checkers, feed readers, scripts of one's own.
        signed_in = chance.random() < {"person": 0.6, "spider": 0.1, "nameless": 0.5}[kind]
        self._user = chance.choice(self._users) if signed_in and self._users else None
        self._jar = self._cookies.setdefault(self._user, {}) if self._user is not None else {}
        return kind == "person"

    def _sign_in(self, user: User) -> bool:
        if "sessionid" in self._jar:
            return True
        if not self._get("/sign-in/"):
            return False
        answer = self._post(Doing.OTHER, "/sign-in/", {"username": user.name, "password": user.password})
        if answer is not None and answer.status == 200:
            raise VisitorsError(f"{user.name} could not sign in")
        return answer is not None and "sessionid" in self._jar

    def _look_around(self, is_person: bool) -> list[Link]:
        pages = ["/", "/", "/popular/"] + (["/unseen/"] if self._user is not None else [])
        path = self._chance.choice(pages)
        answer = self._front() if path == "/" else self._get(path)
        if answer is None:
            return []
        if path == "/unseen/" and is_person and self._chance.random() < 0.05 and "/unseen/all/" in answer.page:
            self._post(Doing.SEE_ALL, "/unseen/all/", {})
        found = _LINK.findall(answer.page)
        return [Link(f"{track}:{dom_id}", int(article), page) for dom_id, track, article, page in found]

    def _follow(self, link: Link, is_person: bool) -> bool:
        # Some spiders run a page's script too: their clicks are filtered like the rest of them.
        if "Chrome/" in self._user_agent or "Firefox/" in self._user_agent:
            wandering = self._chance.choices(
                ("nav:main:nav-front", "nav:main:nav-popular"), k=self._chance.randrange(3)
            )
            labels = (*wandering, link.label)
            answer = self._send(Doing.CLICK, "POST", "/footfall/track/", {"labels": "|".join(labels)}, labels=labels)
            if answer is None or answer.status != 200:
                return False
        return self._read(link.article, link.came_from, is_person)

    def _read(self, article: int, came_from: str | None, is_person: bool) -> bool:
        path = f"/articles/{article}/" + (f"?from={came_from}" if came_from else "")
        answer = self._send(Doing.READ, "GET", path, article=article, came_from=came_from)
        if answer is None or answer.status != 200:
            return False
        if self._user is not None and is_person:
            if self._chance.random() < 0.15:
                return self._comment(article)
            if self._chance.random() < 0.1:
                return self._follow_somebody(self._user, answer.page)
            button = _LIKE_BUTTON.search(answer.page)
            if self._chance.random() < 0.25 and button and (self._user, article) not in self._in_doubt:
                return self._press(self._user, article, Doing(button[1]))
        return True

    def _comment(self, article: int) -> bool:
        words = " ".join(self._chance.choices(("well", "done", "and", "so", "it", "goes", "on", "again"), k=6))
        return self._write(Doing.COMMENT, article, {"text": words})

    def _press(self, user: User, article: int, button: Doing) -> bool:
        self._in_doubt.add((user, article))
        is_done = self._write(button, article, {})
        if is_done:
            self._in_doubt.discard((user, article))
        return is_done

    def _follow_somebody(self, user: User, page: str) -> bool:
        """Press one of the page's buttons that begin or end to follow the article, its author, or who commented."""
        forms = [form for form in _FOLLOW_FORM.findall(page) if (user, f"{form[1]}:{form[2]}") not in self._in_doubt]
        if not forms:
            return True
        doing, model, key, inputs = self._chance.choice(forms)
        followed = f"{model}:{key}"
        self._in_doubt.add((user, followed))
        form = {"next": "/", **({"actor_only": "0"} if _OTHERS_TOO in inputs else {})}
        answer = self._post(Doing(doing), f"/footfall/{doing}/{model}/{key}/", form, followed=followed)
        if answer is None or answer.status != 302:
            return False
        self._in_doubt.discard((user, followed))
        return self._front() is not None

    def _front(self) -> Answer | None:
        """Get the front page, on which readers read what those did whom they follow; None where there is no page."""
        answer = self._send(Doing.FEED, "GET", "/")
        return answer if answer is not None and answer.status == 200 else None

    def _write(self, doing: Doing, article: int, form: Mapping[str, str]) -> bool:
        """Send a form and follow where it leads, to the article; True when the form was taken."""
        ticket = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        path = f"/articles/{article}/{doing.value}/"
        answer = self._post(doing, path, {**form, "ticket": ticket}, article=article, ticket=ticket)
        if answer is None or answer.status != 302:
            return False
        target = _ARTICLE_PATH.fullmatch(answer.location)
        if target:
            self._send(Doing.READ, "GET", answer.location, article=int(target[1]))
        return True

    def _get(self, path: str) -> Answer | None:
        """Get a page that publishes nothing; None where there is no page."""
        answer = self._send(Doing.OTHER, "GET", path)
        return answer if answer is not None and answer.status == 200 else None

    def _post(self, doing: Doing, path: str, form: Mapping[str, str], **about: str | int) -> Answer | None:
        fields = {**form, "csrfmiddlewaretoken": self._jar.get("csrftoken", "")}
        return self._send(doing, "POST", path, fields, **about)

    def _send(
        self, doing: Doing, method: str, path: str, form: Mapping[str, str] | None = None, **about: object
    ) -> Answer | None:
        """Send one request and log it; None where it was not sent: the visitors are done, or nobody is there."""
        if not self._budget.take():
            return None
        sent = time.time()
        try:
            answer = self._connection.send(method, path, form, self._user_agent, self._jar)
        except NotSentError:
            self._budget.give_back()
            return None
        if answer.status:
            self._budget.answered()
        user = self._user.name if self._user is not None and "sessionid" in self._jar else None
        if doing is Doing.FEED:
            about["fresh"] = tuple(_FRESH.findall(answer.page)) if answer.page else None
        self._log.add(Visit(doing, user, self._user_agent, sent, time.time(), answer.status, **about))  # type: ignore[arg-type]  # the rest of Visit's fields, by name
        return answer

    def _skewed(self, size: int) -> int:
        return min(self._chance.randrange(size), self._chance.randrange(size))


class _Connection:
    """A kept-alive connection to the site."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)

    def send(
        self, method: str, path: str, form: Mapping[str, str] | None, user_agent: str, jar: dict[str, str]
    ) -> Answer:
        """Send one request and keep its cookies in ``jar``. Raises NotSentError where there is nobody to send it to."""
        self._connect()
        try:
            headers = self._headers(form, user_agent, jar)
            self._connection.request(method, path, urlencode(form) if form else None, headers)
            response = self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(0, "", "")
        try:
            page = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            # The view has returned, all the same: its status was sent.
            self.close()
            page = ""
        for header in response.headers.get_all("Set-Cookie", []):
            jar.update({name: morsel.value for name, morsel in SimpleCookie(header).items()})
        return Answer(response.status, response.headers.get("Location", ""), page)

    def _headers(self, form: Mapping[str, str] | None, user_agent: str, jar: Mapping[str, str]) -> dict[str, str]:
        headers = {"Accept": "text/html"}
        if user_agent:
            headers["User-Agent"] = user_agent
        if jar:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = self._origin
        return headers

    def close(self) -> None:
        """Close it; the next request opens it again."""
        self._connection.close()

    def _connect(self) -> None:
        # Nothing is owed to us between two requests: what can be read now is the other end's goodbye.
        if self._connection.sock is not None and select.select([self._connection.sock], [], [], 0)[0]:
            self.close()
        if self._connection.sock is None:
            try:
                self._connection.connect()
            except OSError as error:
                self.close()
                raise NotSentError from error


def main() -> int:
    """Send visitors from the command line, and keep their log for ``check.py``."""
    parser = argparse.ArgumentParser(description="Visits a demo site and writes down what was done.")
    parser.add_argument("base_url", help="for example http://127.0.0.1:8000")
    parser.add_argument("log", type=Path, help="the log file to write")
    parser.add_argument("--password", required=True, help="of the users visitor-01 … (FOOTFALL_DEMO_PASSWORD)")
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--articles", type=int, default=60, help="articles have the primary keys 1 to this")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--requests", type=int)
    amount.add_argument("--seconds", type=float)
    options = parser.parse_args()
    users = [User(f"visitor-{number:02}", options.password) for number in range(1, options.users + 1)]
    visitors = Visitors(options.base_url, users, range(1, options.articles + 1), options.seed)
    log = visitors.run(requests=options.requests, seconds=options.seconds, threads=options.threads)
    log.write(options.log)
    print(f"{len(log):,} requests: {log.answered:,} answered, {log.refused:,} refused, {log.unknown:,} unknown")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
