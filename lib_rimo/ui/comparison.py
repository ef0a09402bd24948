"""A plot of a training's saved steps against strengths, drawn by the host."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.files import copy_whole, written_beside
from lib_rimo.hosts.training import Plot, TrainingHost, on_another_model
from lib_rimo.messages import Message
from lib_rimo.training.jobs.folder import Job
from lib_rimo.ui.trial import trial_size

STRENGTHS = (0.4, 0.7, 1.0)
MOST_STEPS = 6
FOLDER = "rimo-steps"
"""Inside the folder of LoRAs: the host draws only what lies there."""


@dataclass
class Comparison:
    """One plot that is being drawn, or was."""

    job: Job
    host: TrainingHost
    done: int = 0
    total: int = 0
    messages: tuple[Message, ...] = ()
    """Why it could not be drawn, or what to know of the picture."""
    is_running: bool = False
    """Whether the plot is not there yet: its last picture is drawn before it is put together."""

    @property
    def path(self) -> Path:
        """The plot's picture."""
        return self.job.folder / "comparison.png"

    def copies(self) -> list[Path]:
        """Where the saved steps lie for the host, as far as they were drawn."""
        folder = self.host.lora_folder / FOLDER
        return [folder / Path(path).name for _, path in self.job.progress().saved]

    def start(self, prompt: str) -> None:
        """Draw in a thread. Raises UserError where nothing was saved."""
        names = offer_steps(self.job, self.host)
        if not names:
            raise UserError("Nothing was saved yet that could be compared.")
        name = self.job.options.output_name
        tag = f"<lora:{name}:1>"
        text = prompt if tag in prompt else f"{prompt} {tag}"
        plot = Plot(
            prompts=[
                text.replace(tag, f"<lora:{step}:{strength:g}>")
                for strength in STRENGTHS
                for step in names
            ],
            columns=list(names.values()),
            rows=[f"strength {strength:g}" for strength in STRENGTHS],
            size=trial_size(self.job.options),
            model=Path(self.job.options.pretrained_model_name_or_path),
        )
        self.total = len(plot.prompts)
        self.is_running = True
        threading.Thread(target=self._draw, args=[plot], daemon=True).start()

    def _draw(self, plot: Plot) -> None:
        def drawn() -> None:
            self.done += 1

        try:
            notes = on_another_model(self.host, self.job.options.pretrained_model_name_or_path)
            picture = self.host.draw_plot(plot, drawn)
            self.messages = tuple(notes)
            with written_beside(self.path) as beside:
                picture.save(beside, format="PNG")
        except UserError as error:
            self.messages = error.messages
        except Exception as error:  # whatever the host raises, the page is told
            reason = f"{type(error).__name__}: {error}"
            self.messages = (Message("The plot could not be drawn: {error}", error=reason),)
        self.done = self.total
        self.is_running = False


def offer_steps(job: Job, host: TrainingHost, most: int | None = MOST_STEPS) -> dict[str, str]:
    """Put saved steps, `most` of them at most, where the host finds them: name and label each."""
    saved = [(step, Path(path)) for step, path in job.progress().saved]
    present = [(step, path) for step, path in saved if path.exists()]
    folder = host.lora_folder / FOLDER
    names = {}
    for step, path in present if most is None else evenly(present, most):
        names[path.stem] = f"step {step}"
        if path != job.lora or not job.status.publish_to:
            copy_whole(path, folder / path.name)
    for name in names:
        host.refresh(name)
    return names


def evenly(steps: list[tuple[int, Path]], most: int) -> list[tuple[int, Path]]:
    """At most so many of the steps, spread over all of them, the first and the last among them."""
    if len(steps) <= most:
        return steps
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]
