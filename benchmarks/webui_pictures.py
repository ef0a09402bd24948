"""Time per picture on a real WebUI: without Rimo, with it, beside sd-webui-lora-block-weight.

    python -m benchmarks.webui_pictures --webui DIR --python PY [--lbw DIR] [--model FILE]

Starts the servers itself, with random LoRAs, and draws in rounds: every case once a round, so that
what else the machine does falls on all alike. Prints seconds that pass and seconds that the server
computes (all its threads; other load hardly changes these), median (least - most), and what is
compared within each round. `--part` runs a part alone. `loras` also draws how a change's time grows
with the number of LoRAs, as `benchmarks/loras-HOST.svg`.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from matplotlib.figure import Figure

from benchmarks.figures import spread, this_machine
from lib_rimo.hosts.detection import detect
from lib_rimo.sd.embedded import MODEL
from tests.webui.folder import ROOT, fill
from tests.webui.server import Server
from tests.webui.test_lbw import ACTIVE

VECTORS = [f"1,1,1,1,1,{value},1,1,1,1,1,1,1,1,1,1,1" for value in (0.8, 0.3)]  # differ in IN07
GRID_BLOCKS = "BASE, IN01, IN02, IN04, IN05, IN07, IN08, M00, " + ", ".join(
    f"OUT{number:02}" for number in range(3, 12)
)
GRID_VALUES = "0, 0.25, 0.5, 0.75, 1.25"
NUMBERS_OF_LORAS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Seconds:
    """How long something took: seconds that passed, and seconds of computing."""

    passed: float
    computed: float


class Case:
    """Something that a server draws, time after time, after `before` has set the scene."""

    def __init__(
        self, server: Server, draw: Callable[[], object], before: Callable[[], object] | None = None
    ) -> None:
        self.process, self.draw, self.before = psutil.Process(server.process.pid), draw, before
        self.taken: list[Seconds] = []

    def run(self) -> None:
        """Draw once and keep the time."""
        if self.before is not None:
            self.before()
        begin, computed = time.perf_counter(), self._computed()
        self.draw()
        self.taken.append(Seconds(time.perf_counter() - begin, self._computed() - computed))

    def _computed(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


def main() -> None:
    """Read the command line and run the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--webui", type=Path, required=True, help="the WebUI's folder")
    parser.add_argument("--python", required=True, help="the Python of its environment")
    parser.add_argument("--lbw", type=Path, help="sd-webui-lora-block-weight's folder")
    parser.add_argument("--model", type=Path, default=MODEL, help="a checkpoint (the embedded one)")
    parser.add_argument("--size", default="128x192", help="of the pictures")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--part", choices=PARTS, action="append", help="all, if not given")
    arguments = parser.parse_args()
    print(this_machine(), flush=True)
    with Servers(arguments) as servers:
        for name in arguments.part or PARTS:
            print(f"## {name}: {PARTS[name].__doc__}", flush=True)
            PARTS[name](servers, arguments.rounds)
            print(flush=True)


class Servers:
    """WebUIs with chosen extensions; started when first asked for, stopped at the end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.kept: dict[tuple[Path, ...], Server] = {}
        self.open = ExitStack()
        folder = tempfile.TemporaryDirectory(prefix="rimo-benchmark-")
        self.folder = self.open.enter_context(folder)

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_error: object) -> None:
        self.open.close()

    def get(self, *extensions: Path) -> Server:
        """The WebUI with these extensions."""
        if extensions not in self.kept:
            self.kept[extensions] = self.start(*extensions)
        return self.kept[extensions]

    def start(self, *extensions: Path) -> Server:
        """A new WebUI with these extensions, in a data folder of its own."""
        host = detect(self.arguments.webui)
        assert host is not None, f"{self.arguments.webui} is no WebUI that Rimo knows"
        data = fill(Path(tempfile.mkdtemp(dir=self.folder)), self.arguments.model, *extensions)
        for number in range(1, max(NUMBERS_OF_LORAS)):
            loras = data / "models/Lora"
            shutil.copy(loras / "one.safetensors", loras / f"more{number}.safetensors")
        server = Server(self.arguments.webui, self.arguments.python, host, data)
        return self.open.enter_context(server)

    def drawing(
        self, server: Server, tag: str, before: str | None = None, **settings: object
    ) -> Case:
        """Draws with a tag, right after a picture with the tag `before`."""
        width, height = map(int, self.arguments.size.split("x"))
        size = {"width": width, "height": height, "steps": self.arguments.steps}

        def draw(tag: str) -> object:
            return server.draw(f"1girl, standing, outdoors {tag}", **size, **settings)

        return Case(server, partial(draw, tag), None if before is None else partial(draw, before))

    def plotting(self, server: Server, *axes: tuple[str, str]) -> Case:
        """Draws an X/Y/Z plot with a LoRA in the prompt."""
        script = server.plot_script()
        labels = [argument["label"] for argument in script["args"]]
        choices = script["args"][0]["choices"]
        values = [argument["value"] for argument in script["args"]]
        for number, (label, text) in enumerate([*axes, ("Nothing", "")]):
            values[3 * number : 3 * number + 3] = [choices.index(label), text, []]
        values[labels.index("Draw legend")] = False
        plot = {"script_name": "x/y/z plot", "script_args": values}
        return self.drawing(server, "<lora:one:1>", **plot)


def run_rounds(cases: Mapping[str, Case], rounds: int) -> None:
    """Run all cases in each round, the order turned round every time, and print their times."""
    for number in range(rounds):
        for name in list(cases) if number % 2 else reversed(cases):
            cases[name].run()
    for name, case in cases.items():
        show(name, [seconds.passed for seconds in case.taken], "s")
        show("", [seconds.computed for seconds in case.taken], "s computed")


def warm_up(cases: Mapping[str, Case], times: int) -> None:
    """Draw without taking the time: the model loads, files are read, all is imported."""
    for case in [*cases.values()] * times:
        case.draw()


def compare(what: str, case: Case, with_case: Case) -> None:
    """Print ratio and difference of two cases, taken within each round."""
    pairs = list(zip(case.taken, with_case.taken, strict=True))
    show(what, [a.passed / b.passed for a, b in pairs], "times")
    show("", [a.computed / b.computed for a, b in pairs], "times, computed")
    show("", [a.passed - b.passed for a, b in pairs], "s more")
    show("", [a.computed - b.computed for a, b in pairs], "s more, computed")


def show(what: str, values: Sequence[float], unit: str) -> None:
    """Print `what: median (least - most) unit`."""
    print(f"{what:50} {spread(values)} {unit}")


def no_tag(servers: Servers, rounds: int) -> None:
    """a picture without a LoRA tag."""
    cases = {
        "without the extension": servers.drawing(servers.get(), ""),
        "with Rimo": servers.drawing(servers.get(ROOT), ""),
    }
    warm_up(cases, 3)
    run_rounds(cases, 3 * rounds)
    compare("with / without", cases["with Rimo"], cases["without the extension"])


def changing_blocks(servers: Servers, rounds: int) -> None:
    """a picture after one with another strength or vector, or after one with the same."""
    bare, rimo, drawing = servers.get(), servers.get(ROOT), servers.drawing
    one, other = (f"<lora:one:1:{vector}>" for vector in VECTORS)
    cases = {
        "the host, the same strength": drawing(bare, "<lora:one:1>", "<lora:one:1>"),
        "the host, another strength": drawing(bare, "<lora:one:1>", "<lora:one:0.9>"),
        "Rimo, the same vector": drawing(rimo, one, one),
        "Rimo, another vector": drawing(rimo, one, other),
    }
    if folder := servers.arguments.lbw:
        one, other = (f"<lora:one:1:lbw={vector}>" for vector in VECTORS)
        cases["LBW, another vector"] = drawing(servers.get(folder), one, other, **ACTIVE)
    warm_up(cases, 2)
    run_rounds(cases, rounds)
    for name in list(cases)[1:]:
        compare(f"{name} / unchanged", cases[name], cases["the host, the same strength"])
    compare(
        "Rimo, another / the same", cases["Rimo, another vector"], cases["Rimo, the same vector"]
    )


def loras(servers: Servers, rounds: int) -> None:
    """a picture with more and more LoRAs, after one in which the first had another strength."""
    bare, rimo, drawing = servers.get(), servers.get(ROOT), servers.drawing
    one, other = (f"<lora:one:1:{vector}>" for vector in VECTORS)
    unchanged, strength, block = "nothing", "a strength, by the host", "a block, by Rimo"
    cases = {}
    for count in NUMBERS_OF_LORAS:
        more = "".join(f"<lora:more{number}:0.2>" for number in range(1, count))
        plain = "<lora:one:1>" + more
        cases[count, unchanged] = drawing(bare, plain, plain)
        cases[count, strength] = drawing(bare, plain, "<lora:one:0.9>" + more)
        cases[count, block] = drawing(rimo, one + more, other + more)
    named = {f"{count} LoRAs, changed: {what}": case for (count, what), case in cases.items()}
    warm_up(named, 2)
    run_rounds(named, rounds)
    medians = {
        what: [
            median(seconds.passed for seconds in cases[count, what].taken)
            for count in NUMBERS_OF_LORAS
        ]
        for what in (unchanged, strength, block)
    }
    path = Path(__file__).parent / f"loras-{bare.host}.svg"
    draw_loras(path, medians)
    print(path)


def draw_loras(path: Path, medians: Mapping[str, Sequence[float]]) -> None:
    """Draw seconds a picture, by what changed, against the number of LoRAs."""
    axes = (figure := Figure(figsize=(4.5, 3.5), layout="constrained")).subplots()
    for what, seconds in medians.items():
        axes.plot(NUMBERS_OF_LORAS, seconds, "o-", label=f"changed: {what}")
    axes.set_xlabel("LoRAs in the prompt")
    axes.set_ylabel("seconds a picture")
    axes.set_xticks(NUMBERS_OF_LORAS)
    axes.set_ylim(0, 1.1 * max(map(max, medians.values())))
    axes.grid(alpha=0.2)
    figure.legend(loc="outside upper center", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def grid(servers: Servers, rounds: int) -> None:
    """an X/Y/Z plot of 17 blocks x 5 values, and one of as many pictures that change no LoRA."""
    rimo = servers.get(ROOT)
    seeds = ", ".join(str(seed) for seed in range(17))
    cases = {
        "85 pictures of other seeds": servers.plotting(rimo, ("Seed", seeds), ("Var. seed", "1-5")),
        "17 blocks x 5 values": servers.plotting(
            rimo, ("Block", GRID_BLOCKS), ("Block value", GRID_VALUES)
        ),
    }
    servers.drawing(rimo, f"<lora:one:1:{VECTORS[0]}>").draw()
    run_rounds(cases, max(1, rounds // 6))
    compare("blocks / seeds", cases["17 blocks x 5 values"], cases["85 pictures of other seeds"])


def start_up(servers: Servers, rounds: int) -> None:
    """the WebUI's start-up; of it, what the WebUI counts to the extension's scripts."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is on a user's machine
    kinds: dict[str, tuple[Path, ...]] = {"without the extension": (), "with Rimo": (ROOT,)}
    totals: dict[str, list[float]] = {name: [] for name in kinds}
    computed: dict[str, list[float]] = {name: [] for name in kinds}
    own: list[float] = []
    for number in range(rounds + 1):
        for name in list(kinds) if number % 2 else reversed(kinds):
            server = servers.start(*kinds[name])
            record = server.start_up_record()
            times = psutil.Process(server.process.pid).cpu_times()
            server.stop()
            if number == 0:
                continue  # reads files for the first time, and writes bytecode
            totals[name].append(record["total"])
            computed[name].append(times.user + times.system)
            parts = {part: taken for part, taken in record["records"].items() if _is_ours(part)}
            if parts:
                print(", ".join(f"{part} {1000 * taken:.0f} ms" for part, taken in parts.items()))
                own.append(1000 * sum(parts.values()))
    for name in kinds:
        show(name, totals[name], "s")
        show("", computed[name], "s computed")
    show("the extension's scripts", own, "ms")
    installs = [_install(servers.arguments.python) for _ in range(rounds)]
    if None not in installs:
        show("install.py, once all is installed", installs, "ms")


def _is_ours(part: str) -> bool:
    """Whether a part of the WebUI's start is Rimo's; its callbacks are counted to a module."""
    return "rimo" in part or part.endswith("_callback/base.py")


def _install(python: str) -> float | None:
    """Milliseconds of what the WebUI runs of an extension before it starts itself."""
    is_ready = "from lib_rimo.hosts.environment import *; print(TrainerEnvironment().is_ready())"
    asked = subprocess.run([python, "-c", is_ready], cwd=ROOT, capture_output=True, check=True)
    if asked.stdout.strip() != b"True":
        return None
    begin = time.perf_counter()
    subprocess.run([python, "install.py"], cwd=ROOT, check=True)
    return 1000 * (time.perf_counter() - begin)


PARTS = {
    "no-tag": no_tag,
    "changing-blocks": changing_blocks,
    "loras": loras,
    "grid": grid,
    "start-up": start_up,
}

if __name__ == "__main__":
    main()
