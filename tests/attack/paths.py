"""Names that lead elsewhere, put to the page's server and its API."""

import asyncio
import base64
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from lib_rimo.ui.train_server import TrainServer
from tests.attack.jobs import make_job, server_of
from tests.attack.tally import Tally
from tests.ui.application import application

SECRET = "s3cr3t"
"""What lies outside and may stand in no answer; no picture, so that nothing hides it."""


def odd_paths(count: int, seed: int, home: Path, outside: Path) -> Iterator[str]:
    """Paths to a secret file, and odd ones, as an attacker writes them."""
    rng = random.Random(seed)
    ups = ["../", "..\\", "..//", "./../", "%2e%2e/", "..%2f", "....//", "..;/", "\uff0e\uff0e/"]
    names = ["1.png", "secret.txt", "1.txt", "link.png", "linked/1.png", "linked/secret.txt",
             "10_girl/1.png", "pipe.png", "\x00", "1.png\x00.txt", "CON", "a" * 300, "\ud800",
             "~root/.bashrc", "~/1.png", "1.png/", ".", "..", "", " ", "1.png ", "*.png", "[1].png",
             "$HOME/1.png", "|id", "`id`.png", "-rf", "\u202e1.png", "1.png:stream",
             "莉/é.png"]  # fmt: skip
    starts = ["", "", "/", "//", "\\\\host\\share\\", "C:\\", "file:///", f"{home}/", f"{outside}/",
              f"{home}/pictures/set-01/", "/proc/self/root/", "/proc/self/cwd/", "/dev/fd/",
              "\\\\?\\C:\\"]  # fmt: skip
    for _ in range(count):
        ladder = rng.choice(ups) * rng.choice([0, 0, 1, 2, 3, 8])
        where = rng.choice(["", "", "outside/", str(outside).lstrip("/") + "/"])
        path = f"{rng.choice(starts)}{ladder}{where}{rng.choice(names)}"
        yield quote(path, errors="ignore") if rng.random() < 0.1 else path


def make_folders(folder: Path) -> tuple[Path, Path]:
    """The page's own folder with a set of pictures and links out of it, and what lies outside."""
    home, outside = folder / "home", folder / "outside"
    pictures = home / "pictures" / "set-01"
    (outside / "10_girl").mkdir(parents=True)
    (pictures / "10_girl").mkdir(parents=True)
    for name in ("1.png", "secret.txt", "1.txt", "10_girl/1.png", "10_girl/1.txt"):
        (outside / name).write_text(SECRET)
    (pictures / "1.txt").write_text("1girl")
    (pictures / "1.png").write_bytes(base64.b64decode(ONE_PIXEL))
    if os.name == "posix":
        (pictures / "link.png").symlink_to(outside / "1.png")
        (pictures / "link.txt").symlink_to(outside / "secret.txt")
        (pictures / "linked").symlink_to(outside)
        (pictures / "5_linked").symlink_to(outside / "10_girl")
        os.mkfifo(pictures / "pipe.png")
    return home, outside


ONE_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJg"
    "gg=="
)


def attack(count: int, seed: int, folder: Path) -> Tally:
    """`count` paths in place of every name that the page sends, and in the API's addresses.

    The page is one that others can reach. Escaped is a secret that is answered, or a file outside
    that is not as it was, or new.
    """
    tally = Tally()
    home, outside = make_folders(folder.resolve())
    server = server_of(home)
    server.host.is_shared = True
    make_job(server.queue, "sound", 1.0)
    own = str(home / "pictures" / "set-01")
    before = _files_beside(home)
    with _api(server) as get:
        for path in odd_paths(count, seed, home, outside):
            tally.tried["paths"] += 1
            for request in _requests(path, own):
                with tally.expecting_sentences(f"{request}"):
                    said = server.answer(json.dumps(request))
                    tally.tried["requests"] += 1
                    if SECRET in said or base64.b64encode(SECRET.encode()).decode()[:6] in said:
                        tally.fail("escapes", f"answered: {request}")
                    if "nobody foresaw" in said:
                        tally.fail("exceptions", f"{said} for {request}")
            for address in _addresses(path):
                with tally.expecting_sentences(address):
                    status, said = get(address)
                    tally.tried["addresses"] += 1
                    if SECRET in said:
                        tally.fail("escapes", f"answered: {address}")
                    if status >= 500:
                        tally.fail("exceptions", f"{status} {said[:200]} for {address}")
            if (after := _files_beside(home)) != before:
                tally.fail("escapes", f"changed outside by {path}: {after ^ before}")
                before = after
    return tally


def _requests(path: str, own: str) -> Iterator[dict]:
    """What the page may ask with a path in it."""
    content = base64.b64encode(b"caption").decode()
    yield {"do": "pictures", "set": path}
    yield {"do": "pictures", "set": f"{own}/{path}"}
    for place, name in ((own, path), (path, "1.png")):
        yield {"do": "picture", "set": place, "name": name}
        yield {"do": "caption", "set": place, "name": name, "caption": "overwritten"}
        yield {"do": "remove", "set": place, "name": name}
        yield {"do": "crop", "set": place, "name": name, "box": [0, 0, 1, 1]}
        yield {"do": "add", "set": place, "files": [{"name": f"{name}.txt", "content": content}]}
        yield {"do": "discard", "set": place, "name": name}
    for what in ("watch", "forget", "resume", "settings", "try", "comparison"):
        yield {"do": what, "job": path}
    yield {"do": "sample", "job": "sound", "name": path}
    yield {"do": "curve", "job": "sound", "as": path}
    yield {"do": "save_recipe", "name": path, "options": {"network_dim": 4}}
    yield {"do": "load_file", "name": path, "content": f"train_data_dir = {path!r}"}
    yield {"do": "base", "path": path}
    yield {"do": "add_base_folder", "folder": path}
    yield {"do": "search_strip", "search": path, "name": path}
    for option in ("train_data_dir", "network_weights", "vae", "output_name", "sample_prompts",
                   "logging_dir", "reg_data_dir", "dataset_config"):  # fmt: skip
        yield {"do": "estimate", "options": {option: path}}
    for tool in ("resize", "convert", "edit"):
        yield {"do": "tool", "tool": tool, "lora": path, "name": path, "to": "peft", "title": "x"}


def _addresses(path: str) -> Iterator[str]:
    """Where a browser may look with a path in the address."""
    once = quote(path, safe="/", errors="ignore")
    for written in (once, quote(once, safe=""), quote(path, safe="", errors="ignore")):
        yield f"/rimo/v1/jobs/{written}"
        yield f"/rimo/v1/jobs/sound/samples/{written}"
        yield f"/rimo/v1/searches/{written}/strips/{written}"
        yield f"/gradio_api/file={written}"
        yield f"/file={written}"
        yield f"/static/{written}"


@contextmanager
def _api(server: TrainServer):
    """Gives a function that asks the page's application for an address: (status, text).

    The application is asked directly, as a client that tidies no address up would have it.
    """
    app = application(server.host)
    loop = asyncio.new_event_loop()

    async def get(address: str) -> tuple[int, str]:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": unquote(address, errors="replace"),
            "raw_path": address.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1:7870")],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 7870),
        }
        status, content = 0, b""

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            nonlocal status, content
            status = message.get("status", status)
            content += message.get("body", b"")

        await app(scope, receive, send)
        return status, content.decode(errors="replace")

    try:
        yield lambda address: loop.run_until_complete(get(address))
    finally:
        loop.close()


def _files_beside(home: Path) -> set[tuple[str, bytes]]:
    """Everything that lies beside the page's own folder, with its content."""
    return {
        (str(path), path.read_bytes())
        for path in home.parent.rglob("*")
        if not path.is_relative_to(home) and path.is_file()
    }
