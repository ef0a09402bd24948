"""A training's events for people at a terminal: progress bars with time left, and lines."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from lib_rimo.training.events import Event, Sink


def console_sink() -> Sink:
    """A sink that draws a bar for the training, and prints the rest."""
    return _Console()


class _Console:
    def __init__(self) -> None:
        self.bar: Any = None
        self.phase = ""

    def __call__(self, event: Event) -> None:
        show = getattr(self, f"show_{event['kind']}", None)
        if show is not None:
            show(event)

    def show_phase(self, event: Event) -> None:
        self.close()
        self.phase = event["phase"]
        if "steps" in event:
            self.open(event["steps"], event["step"], "step")
        else:
            tqdm.write(f"{self.phase.capitalize()} ...")

    def show_data(self, event: Event) -> None:
        for line in event["summary"]:
            tqdm.write(f"  {line}")

    def show_progress(self, event: Event) -> None:
        if self.bar is None:
            self.open(event["steps"], event["step"] - 1, "step")
        rates = " ".join(f"{rate:.1e}" for rate in event["learning_rates"])
        self.bar.set_postfix_str(f"loss {event['smoothed_loss']:.4f}, lr {rates}", refresh=False)
        self.advance(event["step"])

    def show_resumed(self, event: Event) -> None:
        tqdm.write(f"Going on after step {event['step']}.")

    def show_warning(self, event: Event) -> None:
        tqdm.write(f"{event['level']}: {event['text']}")

    def show_saved(self, event: Event) -> None:
        tqdm.write(f"Saved {event['path']}")

    def show_signal(self, event: Event) -> None:
        tqdm.write(f"  fit {event['fit']:.2f}, drift {event['drift']:.2f}")

    def show_best(self, event: Event) -> None:
        tqdm.write(event["text"])

    def show_sample(self, event: Event) -> None:
        tqdm.write(f"Drew {event['path']}")

    def show_stopped(self, event: Event) -> None:
        self.close()
        tqdm.write("Stopped; --resume goes on from here.")

    def show_failed(self, event: Event) -> None:
        self.close()

    def show_finished(self, event: Event) -> None:
        self.close()

    def open(self, total: int, done: int, unit: str) -> None:
        self.bar = tqdm(total=total, initial=done, unit=unit, desc=self.phase, dynamic_ncols=True)

    def advance(self, done: int) -> None:
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
