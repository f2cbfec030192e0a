"""A headless Chromium of Debian's packages, with a profile that is thrown away."""

import os
import shutil
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

#: Headless Chromium calls itself a headless one, which the spiders' list knows: here, it is a person at a desk.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--password-store=basic",
    f"--user-agent={USER_AGENT}",
)

WINDOW = (1280, 1400)
WAIT_SECONDS = 20


def open_chromium(profile: Path) -> Chrome:
    """A new browser, with its console's log kept. It never downloads anything; `quit` ends it."""
    options = Options()
    options.binary_location = _installed("chromium")
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Whatever it keeps beside its profile goes with it, too.
    environment = {**os.environ, "HOME": str(profile)}
    browser = Chrome(options=options, service=Service(_installed("chromedriver"), env=environment))
    browser.set_page_load_timeout(WAIT_SECONDS)
    browser.set_script_timeout(WAIT_SECONDS)
    return browser


def forget_everything(browser: Chrome) -> None:
    """Leave one new tab of the usual size, no cookie and an empty console; a tab's storage and scripts go with it."""
    old = browser.window_handles
    browser.switch_to.new_window("tab")
    new = browser.current_window_handle
    for handle in old:
        browser.switch_to.window(handle)
        browser.close()
    browser.switch_to.window(new)
    browser.set_window_size(*WINDOW)
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    console(browser)


def console(browser: Chrome) -> list[str]:
    """What the console of the browser's tab has reported since the last time, faults of all sources."""
    return [str(entry["message"]) for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]  # Selenium's


def _installed(program: str) -> str:
    path = shutil.which(program)
    assert path, f"There is no {program}: `python deploy/stack.py install --browser` installs it."
    return path
