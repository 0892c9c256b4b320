"""The page in headless Chromium: narrow and wide, light and dark, by keyboard alone, and looked over by axe-core."""

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import pytest

from pairlens.collection.collection import Collection
from support.served_collection import make_collection, picture
from support.server_process import server_process

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
AXE_VERSION = "4.14.1"
WIDER_THAN_THE_WINDOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "shop"
    make_collection(folder, 15).close()
    with server_process(folder) as started:
        yield started
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(30) == 0


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(server, browser):
    """Returns a function that opens a page, whose errors fail the test.

    The browser starts after the server and so ends before it, which waits for connections that are open.
    """
    errors, pages = [], []

    def opened(path="/", width=1280, scheme="light", **options):
        page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme, **options)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        pages.append(page)
        page.goto(server.address + path)
        return page

    yield opened
    for page in pages:
        page.close()
    assert errors == []


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core, kept outside the repository; the test is skipped where npm cannot be reached."""
    file = Path(tempfile.gettempdir()) / f"pairlens-axe-{AXE_VERSION}-{os.getuid()}" / "axe.min.js"
    if not file.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm, which has axe-core, is not installed")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [npm, "pack", f"axe-core@{AXE_VERSION}"], cwd=folder, capture_output=True, timeout=60, check=False
            )
            if done.returncode:
                pytest.skip("axe-core cannot be had from npm")
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as package:
                contents = package.extractfile("package/axe.min.js").read()
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(contents)
    return file.read_text(encoding="utf-8")


def search(page, number=100):
    page.set_input_files("#ask .primary input", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture(number)})
    page.locator(".verdict").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(open_page, axe, width, scheme):
    page = open_page("/", width, scheme, bypass_csp=True, has_touch=width < 500)
    page.evaluate(axe)

    def check(what):
        # Without what rises into view, whose colours are mixed with those behind it.
        page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
        violations = page.evaluate("axe.run().then(found => found.violations.map(v => [v.id, v.nodes[0].html]))")
        assert violations == [], what
        assert not page.evaluate(WIDER_THAN_THE_WINDOW), what

    check("the photos")
    search(page)
    page.locator("#part summary").click()
    check("results")
    page.locator(".card .photo").nth(1).click()
    page.locator(".legend:not([hidden])").wait_for()
    check("one photo")
    page.goto(page.url.partition("?")[0] + "map")
    page.evaluate(axe)
    page.locator("#map-legend li").first.wait_for()
    check("the map")


def test_a_search_draws_a_region_filters_and_comes_back(open_page):
    page = open_page()
    search(page)
    address = page.url
    assert "photo=" in address
    assert page.locator(".card").count() == 15
    box = page.locator("#query .stage").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    page.locator("#whole").wait_for()
    x, y, width, height = map(int, page.url.partition("region=")[2].partition("&")[0].split("%2C"))
    # The picture has 64 × 48 pixels, and about half of each side was drawn.
    assert (0 <= x < 8, 0 <= y < 8, 20 < width <= 32, 14 < height <= 24) == (True, True, True, True)
    page.get_by_role("checkbox", name="red").check()
    page.locator(".card").nth(5).wait_for(state="detached")
    assert "label%3Dred" in page.url
    page.go_back()
    page.go_back()
    page.locator(".card").nth(14).wait_for()
    assert page.url == address
    assert not page.get_by_role("checkbox", name="red").is_checked()


def test_a_region_is_chosen_by_keyboard_alone(open_page):
    page = open_page()
    search(page)
    page.locator("#part summary").focus()
    page.keyboard.press("Enter")
    for name, number in (("From the left", 10), ("From the top", 5), ("Width", 31), ("Height", 20)):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.labels[0].textContent.trim()") == name
        page.keyboard.type(str(number))
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowUp")
    # The part is shown on the photo before it is searched for.
    page.locator("#query .region").wait_for()
    page.keyboard.press("Enter")
    page.locator("#whole").wait_for()
    assert "region=10%2C5%2C32%2C20" in page.url
    assert page.evaluate("document.activeElement.labels[0].textContent.trim()") == "Width"
    assert page.get_by_label("Width").input_value() == "32"


def test_by_keyboard_alone(open_page):
    page = open_page("/?id=1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator(".card .photo").first.focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open] .legend:not([hidden])").wait_for()
    for _ in range(25):
        page.keyboard.press("Tab")
        # Behind the dialog nothing can be reached; the browser's own bar may be.
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    assert page.evaluate("document.activeElement.className") == "photo"


def test_relabelling_adding_removing_and_undoing(open_page, server):
    page = open_page()
    page.set_input_files(
        "#add",
        [
            {"name": "new.jpg", "mimeType": "image/jpeg", "buffer": picture(300)},
            {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"},
        ],
    )
    page.get_by_text("Added 1, refused 1.").wait_for()
    assert "bad.jpg: " in page.locator(".notice li").inner_text()
    page.locator('.card[data-id="16"] .photo').click()
    page.get_by_label("New label").fill("fresh")
    page.get_by_role("button", name="Relabel").click()
    page.get_by_text("The label is now fresh.").wait_for()
    page.get_by_role("button", name="Remove from the collection").click()
    page.get_by_role("button", name="Undo").click()
    assert page.locator(".leaving").count() == 0
    page.locator('.card[data-id="16"] .photo').click()
    page.get_by_role("button", name="Remove from the collection").click()
    page.get_by_role("button", name="Undo").wait_for()
    # Whoever leaves before the time to undo is over has removed it.
    page.goto(server.address + "/?id=1")
    with Collection.connect(server.address) as shop:
        end = time.monotonic() + 10
        while len(shop) > 15 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(shop) == 15
        assert "fresh" not in shop.labels()


def test_without_a_script_photos_are_uploaded_and_found(open_page):
    page = open_page(java_script_enabled=False)
    page.locator("#ask input[type=file]").first.set_input_files(
        {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture(100)}
    )
    page.locator("#ask button").click()
    assert page.locator(".card").count() == 15
    page.locator("#part summary").click()
    for name, number in (("From the left", 10), ("From the top", 5), ("Width", 32), ("Height", 20)):
        page.get_by_label(name).fill(str(number))
    page.get_by_role("button", name="Search for this part").click()
    assert page.locator("#whole").is_visible()
    assert page.get_by_label("Width").input_value() == "32"
    page.locator(".card .photo").nth(2).click()
    assert page.locator(".pair img").count() == 2
    assert page.locator("#photo-title").is_visible()


def test_photos_that_come_late_move_nothing(open_page):
    places = "[...document.querySelectorAll('.card')].map(card => Math.round(card.getBoundingClientRect().top))"
    page = open_page("/")
    page.wait_for_load_state("networkidle")
    with_photos = page.evaluate(places)
    # None of the photos comes at all.
    page.route("**/thumbnail*", lambda route: None)
    # Not until everything has loaded, which the photos never do; the script is run once the style sheet is there.
    page.reload(wait_until="domcontentloaded")
    page.locator(".card").nth(14).wait_for()
    assert page.evaluate(places) == with_photos
    page.unroute_all(behavior="ignoreErrors")
