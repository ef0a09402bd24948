"""What the page and the API ask of searches: for the best saved step, for the best blocks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_rimo.errors import MissingError, UserError
from lib_rimo.hosts.training import (
    TrainingHost,
    check_folder,
    check_ready,
    find_base_model,
    on_another_model,
)
from lib_rimo.inference.infotext import Settings, check_settings
from lib_rimo.training.config.names import output_name_of
from lib_rimo.training.data.image_files import open_image
from lib_rimo.training.data.picture_set import data_url
from lib_rimo.training.jobs.folder import Job
from lib_rimo.training.jobs.queue import Queue
from lib_rimo.ui.comparison import offer_steps
from lib_rimo.ui.replies import Reply
from lib_rimo.ui.search import Order, Search
from lib_rimo.weights.tags import replace_extra_networks

STRIPS = ("choice", "blocks", "effects")


class Searches:
    """Answers the page's `search_...` requests; one search goes on at a time."""

    def __init__(self, host: TrainingHost, queue: Queue) -> None:
        self._host, self._queue = host, queue
        self._searches: dict[str, Search] = {}
        self._starting = threading.Lock()

    def do_search(self, asked: Reply) -> Reply:
        """Begin a search, of `job`'s saved steps or of the blocks of the LoRA `lora`.

        It draws two pictures to tell how long it takes, and waits for `search_go` then.
        """
        check_ready(self._host)
        kind = asked["kind"]
        if kind not in ("choose", "blocks"):
            raise UserError("{kind} is no search: use choose or blocks.", kind=kind)
        order, base = (
            self._order_of_job(asked) if kind == "choose" else self._order_of_blocks(asked)
        )
        check_settings(order.settings)
        notes = on_another_model(self._host, base)
        with self._starting:
            for search in self._searches.values():
                if search.is_going_on:
                    if search.order.id == order.id:
                        return search.as_dict()
                    if search.state == "planned":  # by a page that may be closed by now
                        search.stop()
                        continue
                    raise UserError("Another search is going on: wait for it, or stop it.")
            search = Search(order, self._folder / order.id, self._host, tuple(notes))
            self._searches[order.id] = search
            search.start()
        return search.as_dict()

    def do_search_watch(self, asked: Reply) -> Reply:
        """How far a search is, and what it found."""
        return self.find(str(asked["search"])).as_dict()

    def do_search_go(self, asked: Reply) -> Reply:
        """Go on with what was planned."""
        search = self.find(str(asked["search"]))
        search.go()
        return search.as_dict()

    def do_search_stop(self, asked: Reply) -> Reply:
        """Stop, with the best so far."""
        search = self.find(str(asked["search"]))
        search.stop()
        return search.as_dict()

    def do_search_strip(self, asked: Reply) -> Reply:
        """A strip of pictures of a result."""
        path = self.strip_path(str(asked["search"]), str(asked["name"]))
        return {"picture": data_url(open_image(path), 2048)}

    def abandon(self) -> None:
        """End what goes on, so that two servers don't search in one folder."""
        for search in self._searches.values():
            if search.is_going_on:
                search.abandon()

    def all(self) -> list[Reply]:
        """All searches of this run of the server."""
        return [search.as_dict() for search in self._searches.values()]

    def find(self, search_id: str) -> Search:
        """A search by its id; raises MissingError."""
        search = self._searches.get(search_id)
        if search is None:
            raise MissingError("There is no search {id}: start it again, it goes on.", id=search_id)
        return search

    def strip_path(self, search_id: str, name: str) -> Path:
        """The file of a strip; raises MissingError for any other file."""
        file = self.find(search_id).folder / f"{name}.png"
        if name not in STRIPS or not file.is_file():
            raise MissingError("There is no strip {name}.", name=name)
        return file

    @property
    def _folder(self) -> Path:
        return self._host.home / "searches"

    def _order_of_job(self, asked: Reply) -> tuple[Order, str]:
        """The order, and the model that its LoRA was trained on."""
        from lib_rimo.sd.size import parse_resolution

        job = self._queue.job(asked["job"])
        files = offer_steps(job, self._host, most=None)
        if not files:
            raise UserError("Nothing was saved yet that could be compared.")
        options = job.options
        width, height = parse_resolution(options.resolution or "512")
        settings = replace(_settings(asked), width=width, height=height)
        order = Order(
            "choose",
            lora=Path(job.progress().saved[-1][1]),
            name=options.output_name,
            pictures=Path(options.train_data_dir),
            model=self._model(options.pretrained_model_name_or_path),
            settings=settings,
            trigger_word=options.trigger_word.strip(),
            options=self._host.picture_options(),
        )
        return order, options.pretrained_model_name_or_path

    def _order_of_blocks(self, asked: Reply) -> tuple[Order, str]:
        """The order, and the model that its LoRA was trained on, "" where that is not known."""
        name = str(asked["lora"])
        lora = self._host.lora_path(name)
        if lora is None:
            raise UserError("{name}: there is no such LoRA file.", name=name)
        job = self._job_of(name)
        if asked.get("pictures"):
            pictures = check_folder(Path(str(asked["pictures"])), self._host)
        elif job is not None:
            pictures = Path(job.options.train_data_dir)
        else:
            raise UserError(
                "Say which folder has the pictures that {name} was trained on.",
                name=name,
                about="pictures",
            )
        base = "" if job is None else job.options.pretrained_model_name_or_path
        order = Order(
            "blocks",
            lora=lora,
            name=lora.stem,
            pictures=pictures,
            model=self._model(str(asked.get("model") or base)),
            settings=_settings(asked),
            prompts=(without_lora(str(asked.get("prompt", "")), name) or "1girl, solo",),
            trigger_word="" if job is None else job.options.trigger_word.strip(),
            strength=float(asked.get("strength", 1.0)),
            options=self._host.picture_options(),
        )
        return order, base

    def _model(self, asked: str) -> Path:
        """What is drawn with: a WebUI's loaded checkpoint, else the one of this path or name."""
        models = list(self._host.base_models())
        if not models:
            raise UserError("There is no model to draw with.")
        if not asked or not self._host.draws_with_any:
            return models[0].path
        model = find_base_model(models, asked)
        if model is None:
            raise UserError(
                "{name} is not among the models: put it back, or choose one of {models}.",
                name=asked,
                models=[model.title for model in models],
                about="model",
            )
        return model.path

    def _job_of(self, name: str) -> Job | None:
        """The last training that made a LoRA of this name, or one of its saved steps."""
        names = {name, output_name_of(name)}
        jobs = [job for job in self._queue.jobs() if job.snapshot.damage is None]
        return next((job for job in reversed(jobs) if job.options.output_name in names), None)


def without_lora(prompt: str, name: str) -> str:
    """A prompt without the tags of one LoRA; other tags stay."""

    def rewrite(network: Any) -> str:
        is_own = network.kind in ("lora", "lyco") and network.body.split(":")[0].strip() == name
        return "" if is_own else str(network.text)

    return replace_extra_networks(prompt, rewrite).strip().strip(",").strip()


def _settings(asked: Reply) -> Settings:
    """The page's settings; what it does not have stays as it is by default."""
    given: Mapping[str, Any] = asked.get("settings") or {}
    kinds = {"negative_prompt": str, "sampler": str, "schedule": str, "cfg_scale": float}
    kinds |= {"steps": int, "width": int, "height": int}
    read: dict[str, Any] = {
        name: kind(given[name]) for name, kind in kinds.items() if given.get(name) not in (None, "")
    }
    return Settings(**read)
