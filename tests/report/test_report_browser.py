"""The report in headless Chromium, narrow and wide, light and dark, and on paper."""

import shutil
from contextlib import contextmanager
from itertools import pairwise

import pytest
from PIL import Image

from pairlens.core.table import Table
from pairlens.report.page import (
    CodeBlock,
    Page,
    Paragraph,
    PhotoBlock,
    PhotoRow,
    PhotoTile,
    Section,
    TableBlock,
)
from pairlens.report.render import render
from support.report_headings import COMPARISON_SECTIONS, RUN_SECTIONS

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
WIDTHS, SCHEMES, PAGES = (390, 1280), ("light", "dark"), ("run", "comparison")
AA = 4.5
# Of every element with text of its own: its colour against the nearest background that is not see-through.
CONTRAST = """
() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                       return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
                        if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const found = {};
  for (const e of document.querySelectorAll('body *:not(svg *)')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color).slice(0, 3)), light(ground(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const name = e.tagName + '.' + e.className;
    found[name] = Math.min(found[name] ?? 99, ratio);
  }
  return found;
}
"""
NAMELESS = """
() => [...document.querySelectorAll('img')].filter(e => {
  const box = e.getBoundingClientRect();
  return !(e.alt.trim() && e.complete && e.naturalWidth > 0 && box.width > 60 && box.height > 50);
}).length
"""
# Everything must lie within the window; only a table of numbers may be wider, and is then moved sideways in its own box.
OUTSIDE = """
() => [...document.querySelectorAll('body *:not(.skip, .hidden, source)')].filter(e => {
  const scroll = e.closest('.scroll.numbers');
  const isMoved = scroll && e !== scroll && scroll.scrollWidth > scroll.clientWidth;
  const box = e.getBoundingClientRect();
  return !isMoved && box.width > 0 && (box.right > document.documentElement.clientWidth + 1 || box.left < -1);
}).map(e => e.tagName + '.' + e.className)
"""
# Whatever holds text must be as wide as its text.
CUT_TEXT = """
() => [...document.querySelectorAll('body *:not(.scroll.numbers, .skip, .hidden)')].filter(
  e => e.clientWidth > 0 && getComputedStyle(e).display !== 'inline' && e.scrollWidth > e.clientWidth + 1
       && getComputedStyle(e).overflowX !== 'visible'
).map(e => e.tagName + '.' + e.className)
"""
# A table that is wider than its box shows a scroll bar and a shadow, and its first column stays.
HIDDEN_COLUMNS = """
() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).filter(e => {
  const style = getComputedStyle(e);
  const sticky = [...e.querySelectorAll('tr > :first-child')].every(cell => getComputedStyle(cell).position === 'sticky');
  const hasShadow = style.backgroundImage.includes('gradient');
  return !(sticky && hasShadow && style.overflowX === 'auto' && style.scrollbarWidth === 'thin');
}).length
"""
SCALES = """
() => [...document.querySelectorAll('img.drawing')].map(e => e.getBoundingClientRect().width / e.naturalWidth)
"""
DRAWINGS = "() => [...document.querySelectorAll('img.drawing')].map(e => e.currentSrc)"
TEXT_OUTSIDE_THE_DRAWING = """
() => {
  const frame = document.documentElement.getBoundingClientRect();
  return [...document.querySelectorAll('text:not(:has(tspan)), tspan')].filter(e => {
    const box = e.getBoundingClientRect();
    return Math.min(box.left - frame.left, box.top - frame.top, frame.right - box.right, frame.bottom - box.bottom) < -1;
  }).map(e => e.textContent);
}
"""
BRIGHTNESS = """
async () => { const image = document.querySelector('img.drawing'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [20, 20];
  const context = canvas.getContext('2d');
  context.filter = getComputedStyle(image).filter;
  context.drawImage(image, 0, 0, 4, 4, 0, 0, 20, 20);
  return context.getImageData(10, 10, 1, 1).data[0]; }
"""
CUT = "() => [...document.querySelectorAll('.scroll, tr, figure')].filter(e => e.scrollWidth > innerWidth).length"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser, file, width=1280, scheme="light"):
    """A page, and what it logs and asks for while it is open."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if not is_own(request.url, file) else None)
    page.on("requestfailed", lambda request: heard.append(f"failed: {request.url[:80]}"))
    page.goto(file.as_uri(), wait_until="load")
    yield page, heard
    context.close()


def is_own(url, file):
    return url == file.as_uri() or url.startswith("data:")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_is_missing_overflows_is_faint_or_logs(browser, reports, name, width, scheme):
    with opened(browser, reports[name], width, scheme) as (page, heard):
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate(CUT_TEXT) == []
        assert page.evaluate(HIDDEN_COLUMNS) == 0
        assert page.evaluate(NAMELESS) == 0
        faint = {element: ratio for element, ratio in page.evaluate(CONTRAST).items() if ratio < AA}
        assert faint == {}
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, background[4:-1].split(","))) < 60) == (scheme == "dark")
        assert heard == []


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A page with a table that is wider than any window, and with texts that have no space to break at."""
    numbers = Table("Many columns", ["loss", *map(str, range(40))], [["circle", *40 * ["17.1 ± 7.3"]]])
    texts = Table("Long words", ("name", "text"), [(90 * "n", 200 * "t")], (300 * "o",), textual=True)
    tile = PhotoTile(Image.new("RGB", (90, 90)), 60 * "c", 60 * "d", is_correct=True)
    blocks = [TableBlock(numbers), TableBlock(texts), CodeBlock("A command", 300 * "x"), Paragraph(300 * "p")]
    photos = PhotoBlock(200 * "q", [PhotoRow(200 * "r", 7 * [tile])])
    page = Page("test", 80 * "v", [200 * "w"], [("f", 200 * "a")], [], [Section(90 * "s", [*blocks, photos])], "today")
    file = tmp_path_factory.mktemp("crowded") / "page.html"
    file.write_text(render(page), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_too_wide_is_broken_or_visibly_moved(browser, crowded, width):
    with opened(browser, crowded, width) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate(CUT_TEXT) == []
        assert page.evaluate("(e => e.scrollWidth > e.clientWidth)(document.querySelector('.scroll.numbers'))")
        assert page.evaluate(HIDDEN_COLUMNS) == 0


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", WIDTHS)
def test_drawings_are_complete_and_large_enough_to_read(browser, reports, name, width):
    with opened(browser, reports[name], width) as (page, _):
        scales = page.evaluate(SCALES)
        # The smallest text of a drawing has 7 points, which is 9.3 CSS pixels.
        assert scales
        assert min(scales) > 0.9
        for uri in page.evaluate(DRAWINGS):
            drawing = page.context.new_page()
            drawing.goto(uri)
            assert drawing.evaluate(TEXT_OUTSIDE_THE_DRAWING) == []
            drawing.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_drawings_follow_the_colours_of_the_page(browser, reports, scheme):
    with opened(browser, reports["comparison"], 1280, scheme) as (page, _):
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert page.evaluate(BRIGHTNESS) == pytest.approx(int(paper[4:].split(",")[0]), abs=3)


def test_correct_and_wrong_photos_differ_by_a_sign_as_well(browser, reports):
    with opened(browser, reports["run"]) as (page, _):
        for verdict, sign in (("correct", "✓"), ("wrong", "✗")):
            tiles = page.locator(f".tile.{verdict}")
            assert tiles.count() > 0
            assert set(tiles.locator(".mark").all_text_contents()) == {sign}
            assert all(verdict in alt for alt in tiles.locator("img").evaluate_all("all => all.map(e => e.alt)"))


@pytest.mark.parametrize(("name", "sections"), [("run", RUN_SECTIONS), ("comparison", COMPARISON_SECTIONS)])
def test_every_section_is_there_in_order_and_linked(browser, reports, name, sections):
    with opened(browser, reports[name]) as (page, heard):
        titles = page.eval_on_selector_all("main section > :is(h2, h3)", "all => all.map(e => e.textContent)")
        assert [title.partition(":")[0] for title in titles] == sections
        assert page.eval_on_selector_all("nav a", "all => all.map(e => e.textContent)") == titles
        for number in range(len(titles)):
            assert page.evaluate(f"!!document.querySelector(document.querySelectorAll('nav a')[{number}].hash)")
        levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(e => +e.tagName[1])")
        assert levels[0] == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))
        assert page.evaluate("[document.documentElement.lang, !!document.title]") == ["en", True]
        assert page.locator("header, main, nav, footer").count() == 4
        assert heard == []


def test_on_a_keyboard_the_first_stop_skips_to_the_content(browser, reports):
    with opened(browser, reports["run"]) as (page, _):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.hash") == "#content"


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_nothing_is_cut_and_it_is_light(browser, reports, name):
    with opened(browser, reports[name], 700, "dark") as (page, heard):
        pdf = page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        assert 3 < pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page/") < 40
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(CUT) == 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert heard == []
