"""What our pages carry in their head where no WebUI puts it there: scripts, style sheet, texts."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from lib_rimo.environment import page_files

# What the scripts use of a WebUI, and its texts in the reader's language.
_WEBUI = """
const gradioApp = () => document;
const onUiLoaded = (callback) => {
    const wait = setInterval(() => {
        if (!document.querySelector(".rimo-train")) return;
        clearInterval(wait);
        callback();
    }, 100);
};
window.localization = /^zh/i.test(navigator.language) ? CHINESE : {};
"""

# Gradio's page hides what is outside of it in a way that keeps the trainings from staying in sight.
_STICKY = ".gradio-container { overflow: clip !important; }"


def chinese() -> dict[str, str]:
    """Our texts in Chinese."""
    path = page_files() / "localizations" / "zh_CN.json"
    texts: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return texts


def texts_for(languages: str | None) -> Mapping[str, str]:
    """Our texts for a browser that sends these as `Accept-Language`; none where English will do."""
    return chinese() if re.match("zh", languages or "", re.IGNORECASE) else {}


def head() -> str:
    """Our scripts and style sheet, for the page's head: Gradio rewrites what it gets as `css`."""
    texts = json.dumps(chinese()).replace("</", "<\\/")
    scripts = [_WEBUI.replace("CHINESE", texts)]
    scripts += [_read(path) for path in sorted((page_files() / "javascript").glob("rimo_*.js"))]
    style = _read(page_files() / "style.css") + _STICKY
    return "".join(f"<script>{script}</script>" for script in scripts) + f"<style>{style}</style>"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
