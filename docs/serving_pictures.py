"""Makes the pictures of the page in README and docs/serving.md, from real photos, in headless Chromium.

    python docs/serving_pictures.py PHOTOS                       # a folder of classes, such as ten bird species

A collection of the photos is made in a temporary folder and served; one of the photos, which is left out of the collection,
is searched for. Writes docs/images/serving_search.png and docs/images/serving_explanation.png.
"""

import io
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from PIL import Image
from playwright.sync_api import sync_playwright

from pairlens.collection.collection import Collection

ROOT = Path(__file__).resolve().parent.parent
SIZE = (1280, 860)
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "tests"))
from support.server_process import server_process  # noqa: E402 (tests/ is on the path only now)


@dataclass(frozen=True)
class Options:
    """What the pictures show."""

    photos: tyro.conf.Positional[Path]
    query: str = "Black_footed_Albatross_0002"
    """beginning of the name of the photo that is searched for"""
    match: int = 2
    """rank of the match that is explained"""
    model: str | None = None


def save(screenshot: bytes, file: Path) -> None:
    """Write a screenshot with 256 colours, which is a quarter of the size and looks the same."""
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    picture.resize(SIZE, Image.Resampling.LANCZOS).quantize(256).save(file, optimize=True)


def main(options: Options) -> None:
    """Make both pictures."""
    query = next(file for file in sorted(options.photos.rglob("*.jpg")) if file.name.startswith(options.query))
    with TemporaryDirectory() as name:
        copy = Path(name) / "birds"
        shutil.copytree(options.photos, copy, ignore=lambda folder, names: {query.name} & set(names))
        with Collection.create(Path(name) / "collection" / "birds", options.model) as collection:
            collection.add(copy)
        with server_process(Path(name) / "collection" / "birds") as server, sync_playwright() as driver:
            flags = ["--no-sandbox", "--disable-gpu"]
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            page = browser.new_page(viewport={"width": 1280, "height": 860}, device_scale_factor=1.5)
            page.goto(server.address)
            page.set_input_files("#ask .primary input", query)
            page.locator(".verdict").wait_for()
            page.wait_for_load_state("networkidle")
            save(page.screenshot(), IMAGES / "serving_search.png")
            page.locator(".card .photo").nth(options.match - 1).click()
            page.locator(".legend:not([hidden])").wait_for()
            page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
            save(page.screenshot(), IMAGES / "serving_explanation.png")
            browser.close()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(60)


if __name__ == "__main__":
    main(tyro.cli(Options))
