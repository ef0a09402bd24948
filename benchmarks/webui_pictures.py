"""Time per picture on a real WebUI: without Rimo, with it, beside sd-webui-lora-block-weight.

    python -m benchmarks.webui_pictures --webui DIR --python PY [--lbw DIR] [--model FILE]

Starts the servers itself, with random LoRAs, and draws in rounds: every case once a round, so that
what else the machine does falls on all alike. Prints each case's median and range, and the median
over the rounds of what is compared within a round. `--part` runs a part alone.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from lib_rimo.demo.publish import MODEL
from lib_rimo.hosts.base import detect
from tests.webui.folder import ROOT, fill
from tests.webui.server import Server
from tests.webui.test_lbw import ACTIVE

WIDTH, HEIGHT, STEPS = 128, 192, 20  # the embedded model's own size
VECTORS = [f"1,1,1,1,1,{value},1,1,1,1,1,1,1,1,1,1,1" for value in (0.8, 0.3)]  # differ in IN07
GRID_BLOCKS = "BASE, IN01, IN02, IN04, IN05, IN07, IN08, M00, " + ", ".join(
    f"OUT{number:02}" for number in range(3, 12)
)
GRID_VALUES = "0, 0.25, 0.5, 0.75, 1.25"

Draw = Callable[[], object]


def main() -> None:
    """Read the command line and run the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--webui", type=Path, required=True, help="the WebUI's folder")
    parser.add_argument("--python", required=True, help="the Python of its environment")
    parser.add_argument("--lbw", type=Path, help="sd-webui-lora-block-weight's folder")
    parser.add_argument("--model", type=Path, default=MODEL, help="a checkpoint (the embedded one)")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--part", choices=PARTS, action="append", help="all, if not given")
    arguments = parser.parse_args()
    for name in arguments.part or PARTS:
        print(f"## {name}: {PARTS[name].__doc__}", flush=True)
        with Servers(arguments) as servers:
            PARTS[name](servers, arguments)
        print(flush=True)


class Servers:
    """Starts WebUIs with chosen extensions and stops them at the end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.started: list[Server] = []
        self.folder = tempfile.TemporaryDirectory(prefix="rimo-benchmark-")

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_error: object) -> None:
        for server in self.started:
            server.stop()
        self.folder.cleanup()

    def start(self, *extensions: Path) -> Server:
        """A WebUI with these extensions, in a data folder of its own."""
        host = detect(self.arguments.webui)
        assert host is not None, f"{self.arguments.webui} is no WebUI that Rimo knows"
        data = Path(self.folder.name) / str(len(self.started))
        fill(data, self.arguments.model, *extensions)
        self.started.append(Server(self.arguments.webui, self.arguments.python, host, data))
        return self.started[-1]


def drawing(server: Server, *tags: str, **settings: object) -> Draw:
    """Draws with one tag after the other, a picture a call."""
    drawn = 0

    def draw() -> None:
        nonlocal drawn
        prompt = f"1girl, standing, outdoors {tags[drawn % len(tags)]}"
        drawn += 1
        size = {"width": WIDTH, "height": HEIGHT, "steps": STEPS}
        server.draw(prompt, **size, **settings)

    return draw


def time_rounds(cases: Mapping[str, Draw], rounds: int) -> dict[str, list[float]]:
    """Seconds of each case in each round; the order turns round every time."""
    for draw in [*cases.values(), *cases.values()]:
        draw()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        names = list(cases) if number % 2 else list(reversed(cases))
        for name in names:
            begin = time.perf_counter()
            cases[name]()
            seconds[name].append(time.perf_counter() - begin)
    for name, taken in seconds.items():
        print(f"{name:44} {summary(taken, 's')}", flush=True)
    return seconds


def summary(values: Sequence[float], unit: str) -> str:
    """`median (least - most) unit`."""
    return f"{median(values):8.3f} ({min(values):.3f} - {max(values):.3f}) {unit}"


def compare(what: str, one: Sequence[float], two: Sequence[float]) -> None:
    """Print the ratio and the difference, taken within each round."""
    pairs = list(zip(one, two, strict=True))
    print(f"{what:44} {summary([a / b for a, b in pairs], 'times')}")
    print(f"{'':44} {summary([a - b for a, b in pairs], 's more')}", flush=True)


def no_tag(servers: Servers, arguments: argparse.Namespace) -> None:
    """a picture without a LoRA tag."""
    bare, rimo = servers.start(), servers.start(ROOT)
    cases = {"without the extension": drawing(bare, ""), "with Rimo": drawing(rimo, "")}
    seconds = time_rounds(cases, 3 * arguments.rounds)
    compare("with / without", seconds["with Rimo"], seconds["without the extension"])


def changing_blocks(servers: Servers, arguments: argparse.Namespace) -> None:
    """pictures whose LoRA's strength changes from each to the next, or does not."""
    bare, rimo = servers.start(), servers.start(ROOT)
    plain, changed = "<lora:one:1>", ["<lora:one:1>", "<lora:one:0.9>"]
    vectors = [f"<lora:one:1:{vector}>" for vector in VECTORS]
    cases = {
        "the host, the same strength": drawing(bare, plain),
        "the host, two strengths by turns": drawing(bare, *changed),
        "Rimo, the same vector": drawing(rimo, vectors[0]),
        "Rimo, two vectors by turns": drawing(rimo, *vectors),
    }
    if arguments.lbw:
        lbw = servers.start(arguments.lbw)
        named = [f"<lora:one:1:lbw={vector}>" for vector in VECTORS]
        cases["LBW, two vectors by turns"] = drawing(lbw, *named, **ACTIVE)
    seconds = time_rounds(cases, arguments.rounds)
    unchanged = seconds["the host, the same strength"]
    for name in list(cases)[1:]:
        compare(f"{name} / unchanged", seconds[name], unchanged)


def grid(servers: Servers, arguments: argparse.Namespace) -> None:
    """an X/Y/Z plot of 17 blocks x 5 values, and one of as many pictures that change no LoRA."""
    rimo = servers.start(ROOT)
    seeds = ", ".join(str(seed) for seed in range(17))
    cases = {
        "85 pictures of other seeds": plotting(rimo, ("Seed", seeds), ("Var. seed", "1-5")),
        "17 blocks x 5 values": plotting(
            rimo, ("Block", GRID_BLOCKS), ("Block value", GRID_VALUES)
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    drawing(rimo, f"<lora:one:1:{VECTORS[0]}>")()
    for _ in range(max(1, arguments.rounds // 6)):
        for name, plot in cases.items():
            begin = time.perf_counter()
            plot()
            seconds[name].append(time.perf_counter() - begin)
    for name, taken in seconds.items():
        print(f"{name:44} {summary(taken, 's')}")
    compare(
        "blocks / seeds", seconds["17 blocks x 5 values"], seconds["85 pictures of other seeds"]
    )


def plotting(server: Server, *axes: tuple[str, str]) -> Draw:
    """Draws a plot with a LoRA in the prompt."""
    script = server.plot_script()
    labels = [argument["label"] for argument in script["args"]]
    choices = script["args"][0]["choices"]
    values = [argument["value"] for argument in script["args"]]
    for number, (label, text) in enumerate([*axes, ("Nothing", "")]):
        values[3 * number : 3 * number + 3] = [choices.index(label), text, []]
    values[labels.index("Draw legend")] = False
    plot = {"script_name": "x/y/z plot", "script_args": values}
    return drawing(server, "<lora:one:1>", **plot)


def start_up(servers: Servers, arguments: argparse.Namespace) -> None:
    """the WebUI's start-up, as it reports it itself."""
    seconds: dict[str, list[float]] = {"without the extension": [], "with Rimo": []}
    own: list[float] = []
    for _ in range(max(2, arguments.rounds // 3)):
        for name, extensions in (("without the extension", []), ("with Rimo", [ROOT])):
            server = servers.start(*extensions)
            record = server.start_up_record()
            server.stop()
            seconds[name].append(record["total"])
            if extensions:
                own.append(1000 * sum(v for k, v in record["records"].items() if "rimo_" in k))
    for name, taken in seconds.items():
        print(f"{name:44} {summary(taken, 's')}")
    compare("with / without", seconds["with Rimo"], seconds["without the extension"])
    print(f"{'running the scripts of the extension':44} {summary(own, 'ms')}", flush=True)


PARTS = {
    "no-tag": no_tag,
    "changing-blocks": changing_blocks,
    "grid": grid,
    "start-up": start_up,
}

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    main()
