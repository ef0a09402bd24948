"""What the Train tab asks for: pictures, recipes, jobs. JSON in and out, without Gradio.

The tab lives in the browser and keeps nothing that matters: pictures, captions and jobs are files,
so a page that is opened again, here or on another machine, shows what there is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

from lib_rimo.errors import UserError
from lib_rimo.hosts.training import TrainingHost
from lib_rimo.messages import Message
from lib_rimo.text import shortened
from lib_rimo.training.config.built_in import BUILT_IN
from lib_rimo.training.config.options import GROUPS
from lib_rimo.training.config.questions import QUESTIONS
from lib_rimo.training.jobs.queue import Queue
from lib_rimo.ui.base_models import BaseModels
from lib_rimo.ui.jobs import Jobs
from lib_rimo.ui.lora_tools import LoraTools
from lib_rimo.ui.masks import Masks
from lib_rimo.ui.opened_folders import OpenedFolders
from lib_rimo.ui.outcomes import Outcomes
from lib_rimo.ui.pictures import Pictures
from lib_rimo.ui.replies import Reply, as_json, refusal
from lib_rimo.ui.searches import Searches
from lib_rimo.ui.settings import Settings, declarations
from lib_rimo.ui.verbs import Verbs
from lib_rimo.unforeseen import as_user_error, write_report


class TrainServer:
    """Answers the page; one for all visitors."""

    def __init__(self, host: TrainingHost) -> None:
        self.host = host
        self.queue = Queue(host.home / "jobs", host.python)
        self.opened = OpenedFolders(host)
        self.bases = BaseModels(host)
        self.outcomes = Outcomes()
        self.verbs = Verbs(host)
        self.pictures = Pictures(host, self.queue, self.opened, self.verbs)
        self.masks = Masks(self.pictures, self.verbs)
        self.settings = Settings(host, self.queue.folder)
        self.jobs = Jobs(host, self.queue, self.opened, self.settings)
        self.searches = Searches(host, self.queue)
        self.tools = LoraTools(host, self.verbs)

    def answer(self, request: str) -> str:
        """Answer one request `{"do": name, ...}`; what the user can mend comes as `error`."""
        ticket = ""
        try:
            asked = json.loads(request)
            handler = self._handler(asked.get("do"))
            if handler is None:
                raise UserError("The page is older than the program: reload it.")
            ticket = self.outcomes.begin(asked)
            reply = handler(asked)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            sentence = (
                "The request was not understood ({error}): reload the page. If that does not help, "
                "report it with the file {file}."
            )
            told = f"{type(error).__name__}: {shortened(str(error), 200)}"
            reply = refusal(UserError(sentence, error=told, file=write_report(error) or "-"))
        except Exception as error:
            reply = refusal(as_user_error(error))
        self.outcomes.end(ticket, reply)
        return json.dumps(reply)

    def do_open(self, asked: Reply) -> Reply:
        """All that the page needs when it opens."""
        messages: list[Message] = []
        return {
            **self.bases.do_bases(asked),
            "groups": GROUPS,
            "options": declarations(),
            "questions": [dataclasses.asdict(question) for question in QUESTIONS],
            "recipes": self.settings.recipes(messages.append),
            "reasons": {name: as_json(recipe.reasons) for name, recipe in BUILT_IN.items()},
            "messages": as_json(messages),
            "interrogators": list(self.host.interrogators()),
            "sets": self.pictures.sets(),
            "host": self.host.name,
            "is_ready": self.host.is_ready(),
            **self.jobs.do_jobs(asked),
        }

    def do_installing(self, asked: Reply) -> Reply:
        """How far an installation of the trainer's libraries is; null where none goes on."""
        going_on = self.host.installation()
        return {
            "is_ready": self.host.is_ready(),
            "installing": None if going_on is None else dataclasses.asdict(going_on),
        }

    def do_install(self, asked: Reply) -> Reply:
        """Install the trainer's libraries; takes minutes."""
        self.host.prepare()
        return {"is_ready": self.host.is_ready()}

    def do_fetch_model(self, asked: Reply) -> Reply:
        """Fetch the model that a verb looks at pictures with, and what runs it; takes minutes."""
        if asked["verb"] not in ("mask", "tag"):
            raise UserError("The page is older than the program: reload it.")
        self.host.prepare_onnx()
        self.verbs.run([asked["verb"], "--fetch"])
        return {}

    def _handler(self, name: str) -> Callable[[Reply], Reply] | None:
        """The method `do_` of that name, whichever part has it."""
        parts = (
            self,
            self.bases,
            self.outcomes,
            self.verbs,
            self.pictures,
            self.masks,
            self.settings,
            self.jobs,
            self.searches,
            self.tools,
        )
        return next(
            (getattr(part, f"do_{name}") for part in parts if hasattr(part, f"do_{name}")), None
        )
