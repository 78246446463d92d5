"""A real Chromium for the tests: one browser for all, one clean context for each test.

An uncaught error on the page or an error on its console fails the test; a failing test leaves a screenshot in
screenshots/. Without Chromium the tests are skipped, unless LABELLOOP_REQUIRE_BROWSER=1 makes that a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from stub import Project, Server

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
SCREENSHOTS = Path(__file__).parent / "screenshots"

expect.set_options(timeout=9_000)  # ms; not 10 s: what the page shows only when it asks the next time must not pass


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser. LABELLOOP_CHROMIUM names another one than the first `chromium` on the path."""
    path = os.environ.get("LABELLOOP_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        reason = "no Chromium found: install chromium, or set LABELLOOP_CHROMIUM to its path"
        if os.environ.get("LABELLOOP_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Errors(list[str]):
    """What went wrong on the page; `expected` holds texts that the test provokes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[str] = []

    def add(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.append(text)


@pytest.fixture
def errors() -> Errors:
    """Errors of the page; a test that stops the server adds what it expects to `errors.expected`."""
    return Errors()


@pytest.fixture
def context_options() -> dict[str, object]:
    """Options of the browser context; override with parametrize."""
    return {"viewport": {"width": 1280, "height": 720}}


class Stops(Protocol):
    """A server."""

    def stop(self) -> None: ...


@pytest.fixture
def servers() -> Iterator[list[Stops]]:
    """Servers of this test: they stop after the pages that talk to them are closed."""
    servers: list[Stops] = []
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def context(
    chromium: Browser,
    servers: list[Stops],
    errors: Errors,
    context_options: dict[str, object],
    request: pytest.FixtureRequest,
) -> Iterator[BrowserContext]:
    """A clean context, like a new browser; pages in it are watched for errors."""
    context = chromium.new_context(**context_options)
    context.set_default_timeout(30_000)
    context.on("weberror", lambda error: errors.add(str(error.error)))
    context.on("console", lambda message: errors.add(message.text) if message.type == "error" else None)
    yield context
    if request.node.stash.get(FAILED, False):
        SCREENSHOTS.mkdir(exist_ok=True)
        for number, page in enumerate(context.pages):
            page.screenshot(path=SCREENSHOTS / f"{request.node.name}-{number}.png")
    for page in context.pages:
        page.unroute_all(behavior="ignoreErrors")  # a request that is under way has nobody to answer any more
    context.close()
    assert not errors, "errors on the page: " + "; ".join(errors)


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A new tab."""
    return context.new_page()


@pytest.fixture
def stub(servers: list[Stops]) -> Callable[..., Server]:
    """Starts stub servers: stub(classes=[…], images=200)."""

    def start(**options: object) -> Server:
        server = Server(Project(**options))
        servers.append(server)
        return server

    return start
