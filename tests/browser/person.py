"""Somebody at a browser: opens pages, clicks, signs in, and looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from browser.chromium import WAIT_SECONDS, console
from browser.newsstand import PASSWORD
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.ui import WebDriverWait


class Box(NamedTuple):
    """A box of the heat map: for which label it stands, what it says, and where it is on the screen."""

    label: str
    text: str
    left: float
    top: float
    width: float
    height: float


READ_BOXES = """
return Array.from(document.querySelectorAll('[data-footfall-count]'), box => {
  const {left, top, width, height} = box.getBoundingClientRect();
  return {label: box.dataset.footfallLabel, text: box.textContent, left, top, width, height};
});
"""


class Person:
    """One person with one browser at one site."""

    def __init__(self, browser: Chrome, site_url: str, pictures: Path) -> None:
        self.browser = browser
        self.site_url = site_url
        self._pictures = pictures

    def open(self, path: str) -> None:
        """Go to a page of the site and wait until it is loaded, its scripts included."""
        self.browser.get(self.site_url + path)

    def open_beside(self, path: str) -> None:
        """Let the page open another of the site in a tab beside it, and go there."""
        known = set(self.browser.window_handles)
        self.run("window.open(arguments[0]);", path)
        self.wait().until(lambda browser: len(browser.window_handles) > len(known))
        (new,) = set(self.browser.window_handles) - known
        self.browser.switch_to.window(new)
        self.wait().until(lambda _: self.run("return location.pathname") == path and self._is_loaded())

    def follow(self, dom_id: str) -> None:
        """Click a link, and wait for the page that it leads to."""
        self._leave_by(self.browser.find_element(By.ID, dom_id))

    def go(self, text: str) -> None:
        """Click the link with this text, whatever its letters are drawn like, and wait for the page that comes."""
        self._leave_by(self.find(f"//a[normalize-space()='{text}']"))

    def press(self, label: str) -> None:
        """Press the button with this text or name, and wait for the page that comes."""
        button = f"//button[normalize-space()='{label}' or @aria-label='{label}']"
        self._leave_by(self.find(f"{button} | //input[@type='submit' and @value='{label}']"))

    def show_heat_map(self) -> list[Box]:
        """Turn the heat map on, and read what it shows once it shows something."""
        self.find("//button[normalize-space()='Heat map']").click()
        self.wait().until(lambda _: self.run("return document.querySelector('[data-footfall-count]') !== null"))
        return self.heat_map()

    def heat_map(self) -> list[Box]:
        """The boxes of the heat map as they stand in the page."""
        return [Box(**box) for box in self.run(READ_BOXES)]

    def sign_in(self, name: str) -> None:
        """Sign in, which ends on the front page."""
        self.open("/sign-in/")
        self.browser.find_element(By.NAME, "username").send_keys(name)
        self.browser.find_element(By.NAME, "password").send_keys(PASSWORD)
        self.press("Sign in")

    def find(self, xpath: str) -> WebElement:
        """The element at an XPath, once it is there."""
        return self.wait().until(condition.presence_of_element_located((By.XPATH, xpath)))

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.browser.execute_script(script, *arguments)

    def before_each_page(self, script: str) -> str:
        """Run a script before those of each page to come; returns what `no_longer` takes."""
        command = self.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        return str(command["identifier"])

    def no_longer(self, identifier: str) -> None:
        """Take a script of `before_each_page` back."""
        self.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})

    def _leave_by(self, element: WebElement) -> None:
        # The element itself can't be asked: in the moment of leaving, the driver doesn't know whose it is.
        self.run("window.isLeft = true;")
        element.click()
        self.wait().until(lambda _: self.run("return !window.isLeft") and self._is_loaded())

    def _is_loaded(self) -> bool:
        return bool(self.run("return document.readyState") == "complete")

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Without a network."""
        with self._network(offline=True):
            yield

    @contextmanager
    def far_away(self) -> Iterator[None]:
        """With a network that takes half a second for each answer."""
        with self._network(latency=500):
            yield

    @contextmanager
    def _network(self, **changed: float) -> Iterator[None]:
        conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.browser.execute_cdp_cmd("Network.enable", {})
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions | changed)
        try:
            yield
        finally:
            self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def wait(self) -> WebDriverWait[Chrome]:
        """Wait for something, not for ever."""
        return WebDriverWait(self.browser, WAIT_SECONDS, poll_frequency=0.05)

    def complaints(self) -> list[str]:
        """What the browser's console has reported since the last time, faults of all sources."""
        # Browsers ask for an icon where a page names none, and the admin's pages name none.
        return [message for message in console(self.browser) if "/favicon.ico " not in message]

    def picture(self, name: str) -> Path:
        """Take a screenshot; where it is, is printed, for a test that fails."""
        path = self._pictures / f"{name}.png"
        assert self.browser.save_screenshot(str(path))
        print(f"screenshot: {path}")
        return path
