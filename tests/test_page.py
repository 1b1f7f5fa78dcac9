"""The web page in a real browser, if one is installed: every page, by mouse and by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import OWNER, running

from rag import RAG

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]

HOSTILE = "<img src=x onerror=alert(1)><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "bridge.md").write_text(
        "# Die Brücke 🌉\n\nThe Vorn bridge was opened in 1921. It is 340 metres long.\n"
    )
    (docs / "hostile.md").write_text(f"# Notes {HOSTILE}\n\nThe gadget called {HOSTILE} is red.\n")
    RAG(folder / "index").index([docs])
    with running(folder / "index") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        launched = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield launched
        launched.close()


@pytest.fixture(params=[(390, "dark"), (1280, "light")], ids=["phone", "laptop"])
def page(browser: Browser, base: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.goto(f"{base}/#token={OWNER}")
    expect(opened.get_by_role("heading", name="Ask your documents")).to_be_visible()
    # The token is not left in the address.
    assert OWNER not in opened.url
    yield opened
    assert not wrong
    # Nothing is wider than the screen.
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_an_answer_opens_its_source_at_the_words(page: Page) -> None:
    page.get_by_label("Question").fill("When was the Vorn bridge opened?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_contain_text("1921")
    page.get_by_role("button", name="Open source 1").first.press("Enter")
    marked = page.locator("#source mark")
    expect(marked).to_contain_text("The Vorn bridge was opened in 1921.")
    # Offsets count code points, also after a sign that JavaScript counts twice.
    assert marked.inner_text().startswith("The Vorn")
    page.keyboard.press("Escape")
    expect(page.locator("#source")).to_be_hidden()


def test_silence_shows_the_nearest_passages(page: Page) -> None:
    page.get_by_label("Question").fill("Who won the chess championship?")
    page.keyboard.press("Enter")
    expect(page.locator(".silent .answer")).to_contain_text("do not say")


def test_text_of_documents_is_never_run(page: Page) -> None:
    page.get_by_role("link", name="Search").click()
    page.get_by_label("Words").fill("gadget red")
    page.keyboard.press("Enter")
    expect(page.locator(".sources li").first).to_contain_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert page.title() == "Search · rag"


def test_a_text_is_checked(page: Page) -> None:
    page.get_by_role("link", name="Check", exact=True).click()
    page.get_by_label("A claim").fill("The Vorn bridge was opened in 1921.")
    page.get_by_role("button", name="Check each sentence").click()
    expect(page.locator(".supported")).to_have_text("supported")


def test_a_file_is_dropped_in_found_and_removed(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "lamp.md"
    file.write_text("The lamp weighs 7 kg.\n")
    page.get_by_role("link", name="Files").click()
    page.get_by_label("Drop files here").set_input_files(file)
    expect(page.locator(".sources .supported")).to_have_text("indexed", timeout=60_000)
    page.get_by_label("Filter").fill("path~lamp")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("1 document", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="lamp.md", exact=True)).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("0 documents")).to_be_visible(timeout=60_000)


def test_health_and_settings_are_shown(page: Page) -> None:
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_role("heading", name="The index is well")).to_be_visible()
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_text("You are owner")).to_be_visible()


def test_a_citations_address_opens_the_document(page: Page, base: str) -> None:
    found = page.request.post(
        f"{base}/search",
        data={"question": "Vorn bridge opened"},
        headers={"Authorization": f"Bearer {OWNER}"},
    ).json()
    page.goto(found["hits"][0]["url"])
    expect(page.locator("#source mark")).to_contain_text("1921")


def test_a_wrong_token_is_told(browser: Browser, base: str) -> None:
    page = browser.new_page()
    page.goto(f"{base}/#token=wrong")
    expect(page.get_by_role("alert")).to_have_text("This token is not valid.")
    page.get_by_label("The token").fill(OWNER)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    page.close()
