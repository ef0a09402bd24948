"""Clicks, keys and seconds from five pictures to the first picture with their LoRA, on the page.

python -m benchmarks.first_picture --tree . OTHER --steps 20 --pictures FOLDER

Drives the page without a WebUI of each tree in Chromium, on the embedded base model, as somebody
would who reads the README's five lines. Seconds of the training are told apart: they are the
machine's. With `--pictures` the way is kept as rows of pictures, at three widths, or at one with
`--chinese`; with `--axe` axe looks at each state of the tab as the page's tests do. The time that
this takes is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from benchmarks.figures import this_machine
from lib_rimo.environment import ROOT

WIDTHS = (1400, 900, 390)
HEIGHT = 900
ROW = 420
"""Pixels that a picture of the page is high in a row."""
PATIENCE = 1_800_000  # milliseconds; a crowded machine takes its time
COUNT = """
window.counted = JSON.parse(sessionStorage.counted || '{"clicks": 0, "keys": 0}');
for (const [kind, name] of [["pointerdown", "clicks"], ["keydown", "keys"]]) {
    addEventListener(kind, (event) => {
        if (!event.isTrusted) return;
        window.counted[name] += 1;
        sessionStorage.counted = JSON.stringify(window.counted);
    }, true);
}
"""
SHOW = "selector => document.querySelector(selector)?.scrollIntoView({block: 'center'})"
DRAWN = ":is(.grid-wrap, .gallery, .preview, button.thumbnail-item) img"
GALLERY = ".rimo-gallery:not(.rimo-small) .rimo-tile"


class Way:
    """The page of one tree, as somebody uses it who comes with five pictures."""

    def __init__(
        self, page: Any, tree: Path, is_chinese: bool, pictures: Path | None, axe: Any
    ) -> None:
        self.page = page
        self.axe = axe
        self.pictures = pictures
        self.language = "chinese" if is_chinese else "english"
        texts = (tree / "localizations" / "zh_CN.json").read_text(encoding="utf-8")
        self.texts: dict[str, str] = json.loads(texts) if is_chinese else {}
        self.rows: dict[int, list[Image.Image]] = {width: [] for width in WIDTHS}
        self.since = time.perf_counter()

    def click(self, selector: str, text: str = "") -> None:
        """Click what is seen there, with a text in the page's language."""
        said = self.texts.get(text, text)
        self.page.click(f"{selector}:visible" + (f":text-is('{said}')" if said else ""))

    def look(self, what: str, selector: str) -> None:
        """Note the time that it took until a thing is there, and keep a picture of the page."""
        self.page.wait_for_selector(selector)
        seconds = time.perf_counter() - self.since
        print(f"  {seconds:7.1f} s until {what}", flush=True)
        if self.pictures is not None:
            for width in WIDTHS if self.language == "english" else WIDTHS[:1]:
                self.page.set_viewport_size({"width": width, "height": HEIGHT})
                # In the page: what a test would hold on to is drawn anew meanwhile.
                self.page.evaluate(SHOW, selector)
                self.page.wait_for_timeout(300)
                file = self.pictures / "seen.png"
                self.page.screenshot(path=file)
                with Image.open(file) as seen:
                    self.rows[width].append(seen.convert("RGB"))
                file.unlink()
            self.page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
        if self.axe is not None and self.page.is_visible("#rimo_train"):
            self._show_findings()
        self.since = time.perf_counter()

    def _show_findings(self) -> None:
        """Print what axe finds on the tab: rules, and how many places each."""
        only = {"resultTypes": ["violations"]}
        found = self.axe.run(self.page, "#rimo_train", only).response["violations"]
        listed = [f"{rule['impact']} {rule['id']} {len(rule['nodes'])}" for rule in found]
        places = sum(len(rule["nodes"]) for rule in found)
        print(f"            axe: {len(found)} rules, {places} places {listed}", flush=True)

    def keep_rows(self) -> None:
        """Lay the pictures of each width side by side, in one small file."""
        for width, seen in self.rows.items():
            if not seen or self.pictures is None:
                continue
            small = [
                ImageOps.expand(
                    picture.resize((round(width * ROW / HEIGHT), ROW), Image.Resampling.LANCZOS),
                    4,
                    "white",
                )
                for picture in seen
            ]
            # Wide pages two or three beside each other, those of a phone all in a row.
            columns = 2 if width > HEIGHT else 3 if width == HEIGHT else len(small)
            across, down = small[0].size
            sheet = Image.new(
                "RGB", (columns * across, -(-len(small) // columns) * down), "lightgrey"
            )
            for number, picture in enumerate(small):
                sheet.paste(picture, (number % columns * across, number // columns * down))
            language = "" if self.language == "english" else "-chinese"
            sheet.save(self.pictures / f"first-lora-{width}{language}.jpg", quality=72)


def go(way: Way, files: list[str], steps: int) -> None:
    """From five pictures to the first picture with their LoRA."""
    page = way.page
    way.look("the page is there", ".rimo-drop")
    page.set_input_files(".rimo-train input[type=file][multiple]", files)  # a click, and a choice
    page.wait_for_function(f"document.querySelectorAll('{GALLERY} .rimo-chips').length == 5")
    page.wait_for_selector(".rimo-busy", state="detached")
    way.look("five pictures are shown", GALLERY)
    page.click("[name=trigger_word]")
    page.keyboard.type("rimochan")
    way.click(".rimo-button", "Make twenty")
    page.wait_for_function("document.querySelectorAll('.rimo-small .rimo-tile').length == 20")
    way.look("twenty are made", ".rimo-small .rimo-tile")
    page.evaluate(  # no step of the way: only so that the training is short
        """steps => {
            const field = document.querySelector(".rimo-train [name=max_train_steps]");
            field.value = steps;
            field.dispatchEvent(new Event("input"));
        }""",
        str(steps),
    )
    way.click(".rimo-start:not([disabled])")
    # The loss is drawn from the second step on; a short training may have ended by then.
    way.look(
        "the training has begun",
        ".rimo-job:is([data-state=running], [data-state=finished]) .rimo-plot",
    )
    way.look("the training has ended", ".rimo-job[data-state=finished]")
    way.click(".rimo-job .rimo-button", "Try it")
    page.wait_for_selector("#rimo_prompt textarea")
    page.wait_for_function(
        "document.querySelector('#rimo_prompt textarea').value.includes('<lora:')"
    )
    way.click("button.primary", "Generate")
    way.look("the first picture is there", DRAWN)


@contextmanager
def page_of(tree: Path, home: Path) -> Iterator[str]:
    """The address of a tree's page, served by a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "lib_rimo", "ui", "--no-browser"),
            *("--home", str(home), "--port", str(port)),
        ],
        cwd=tree,
        env={**os.environ, "RIMO_ENVIRONMENT": "current", "GRADIO_ANALYTICS_ENABLED": "False"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def main() -> None:
    """Print clicks, keys and seconds of each tree."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tree", type=Path, nargs="+", default=[ROOT])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pictures", type=Path, help="folder for rows of pictures")
    parser.add_argument("--chinese", action="store_true")
    parser.add_argument("--axe", action="store_true", help="needs requirements/test.txt")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    arguments = parser.parse_args()
    axe = None
    if arguments.axe:
        from axe_playwright_python.sync_playwright import Axe

        axe = Axe()
    print(this_machine(), flush=True)
    for tree in arguments.tree:
        tree = tree.resolve()
        print(f"{tree.name}:", flush=True)
        files = [str(file) for file in sorted((tree / "lib_rimo/demo/rimochan").iterdir())]
        with (
            tempfile.TemporaryDirectory() as home,
            page_of(tree, Path(home)) as address,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(
                executable_path=arguments.chromium, args=["--no-sandbox"]
            )
            page = browser.new_context(
                locale="zh-CN" if arguments.chinese else "en-US",
                viewport={"width": WIDTHS[0], "height": HEIGHT},
            ).new_page()
            page.set_default_timeout(PATIENCE)
            page.add_init_script(COUNT)
            page.goto(address)
            page.wait_for_selector(".rimo-train input[name=network_dim]", state="attached")
            if arguments.pictures is not None:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
            way = Way(page, tree, arguments.chinese, arguments.pictures, axe)
            go(way, files, arguments.steps)
            way.keep_rows()
            counted = page.evaluate("window.counted")
            browser.close()
        print(f"  {counted['clicks'] + 1} clicks, {counted['keys']} keys", flush=True)


if __name__ == "__main__":
    main()
