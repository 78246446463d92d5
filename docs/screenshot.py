"""Takes the README's screenshot: the demo, twenty cells labeled by their truth, in a real Chromium.

python docs/screenshot.py
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from labelloop.demo import create_demo
from labelloop.loop import next_batch
from labelloop.worker import embed

DOCS = Path(__file__).parent
LABELS = 20


def main() -> None:
    """Make the demo, label it, look at it."""
    import sys

    sys.path.insert(0, str(DOCS.parent / "benchmarks"))
    from labeling_page import FLAGS, Server

    with (DOCS.parent / "sample_data" / "truth.csv").open(newline="") as file:
        truth = {row["file_name"]: row["label"] for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as work:
        with create_demo(Path(work) / "demo") as project:
            for _ in embed(project):
                pass
            for _ in range(LABELS // 10):
                for pick in next_batch(project, 10):
                    name = project.catalog.image(pick.image_id).path.name
                    project.label(pick.image_id, truth[name], by="anna")
        server = Server(Path(work) / "demo")
        server.wait()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(f"{server.url}/?by=anna")
            page.locator(".frame img").wait_for()
            page.wait_for_timeout(2000)
            telling = page.locator(".class.suggested", has_text="malaria parasite")
            for _ in range(10):  # the most telling of the next images: is there a parasite in the cell?
                if telling.is_visible():
                    break
                page.keyboard.press("ArrowRight")
                page.wait_for_timeout(500)
            page.wait_for_timeout(3000)
            page.screenshot(path=DOCS / "label.png")
            browser.close()
        server.kill()
    Image.open(DOCS / "label.png").convert("RGB").quantize(255).save(DOCS / "label.png", optimize=True)


if __name__ == "__main__":
    main()
