"""The HTTP API: trainings under `/rimo/v1/`, in a WebUI's own application or the standalone's."""

import asyncio
import json
import mimetypes
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from lib_rimo.errors import MissingError, UserError
from lib_rimo.training.events import events_after
from lib_rimo.training.jobs.folder import Job
from lib_rimo.ui.access import Guard
from lib_rimo.ui.replies import as_json
from lib_rimo.ui.searches import Searches
from lib_rimo.ui.train_server import TrainServer
from lib_rimo.unforeseen import as_user_error

HTTP_ERRORS = (HTTPException, RequestValidationError)
"""Answers of FastAPI's own."""
PREFIX = "/rimo/v1"
LOOK_EVERY = 0.5  # seconds between looks for new events


class Training(BaseModel):
    """A training to start."""

    options: dict[str, Any] = Field(
        ...,
        description="Options by kohya's names, as in a job file; the rest is the recipe for few "
        "pictures. Needed: pretrained_model_name_or_path (a path, or a name that the WebUI lists), "
        "train_data_dir, output_name.",
    )
    anyway: bool = Field(
        False,
        description="Train on made pictures although their sources, captions or base model have "
        "changed since.",
    )


def add_routes(app: FastAPI, server: TrainServer, guard: Guard) -> None:
    """Add the API to an application, before routes that take every address."""
    before = list(app.router.routes)
    app.include_router(make_router(server, guard))
    ours = [route for route in app.router.routes if route not in before]
    app.router.routes[:] = [*ours, *before]


def make_router(server: TrainServer, guard: Guard) -> APIRouter:
    """All routes."""
    router = APIRouter(
        prefix=PREFIX, tags=["Rimo"], dependencies=[Depends(guard)], route_class=MessageRoute
    )

    find = server.queue.job

    @router.post("/jobs", summary="Start a training, or queue it behind the running one")
    def start(training: Training) -> dict[str, Any]:
        options = server.settings.filled_in(training.options)
        return server.jobs.describe(server.jobs.start(options, anyway=training.anyway))

    @router.get("/jobs", summary="All trainings, the newest first")
    def jobs() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = server.jobs.do_jobs({})["jobs"]
        return listed

    @router.get("/jobs/{job}", summary="One training in full")
    def show(job: str) -> dict[str, Any]:
        return server.jobs.show(find(job))

    @router.get("/jobs/{job}/events", summary="Events as a server-sent stream, from the first on")
    def events(job: str, request: Request) -> StreamingResponse:
        try:
            position = int(request.headers.get("last-event-id", 0))
        except ValueError:
            position = 0
        stream = _stream(find(job), position)
        return StreamingResponse(stream, media_type="text/event-stream")

    @router.post("/jobs/{job}/resume", summary="Go on with an unfinished training")
    def resume(job: str) -> dict[str, Any]:
        server.queue.resume(find(job))
        return server.jobs.describe(find(job))

    @router.post("/jobs/{job}/{command}", summary="Stop, save or sample")
    def command(job: str, command: str) -> dict[str, Any]:
        server.jobs.command(find(job), command)
        return server.jobs.describe(find(job))

    add_search_routes(router, server.searches)
    add_mask_routes(router, server)

    @router.get("/jobs/{job}/samples", summary="The sample pictures so far: step and name")
    def samples(job: str) -> list[dict[str, Any]]:
        shown = server.jobs.show(find(job))["samples"]
        return [{"step": step, "name": name} for step, name in shown]

    @router.get("/jobs/{job}/samples/{name}", summary="One sample picture")
    def sample(job: str, name: str) -> Response:
        path = server.jobs.sample_path(find(job), name)
        kind, _ = mimetypes.guess_type(path.name)
        return Response(server.opened.held.read(path), media_type=kind)

    return router


class SearchOrder(BaseModel):
    """A search to begin."""

    kind: Literal["choose", "blocks"]
    job: str = Field("", description="For choose: the training whose saved steps are tried.")
    lora: str = Field("", description="For blocks: the LoRA's name, as a tag has it.")
    strength: float = Field(1.0, description="For blocks: the LoRA's strength.")
    prompt: str = Field("", description="For blocks: what is drawn; tags of the LoRA are left out.")
    pictures: str = Field("", description="Folder of training pictures, if no training knows it.")
    model: str = Field("", description="Path or title of the model to draw with.")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="negative_prompt, steps, sampler, schedule, cfg_scale, width, height.",
    )


def add_search_routes(router: APIRouter, searches: Searches) -> None:
    """The routes of the searches for the best saved step and the best block weights."""

    @router.post("/searches", summary="Plan a search: how many pictures, how long")
    def search(order: SearchOrder) -> dict[str, Any]:
        return searches.do_search(dict(order))

    @router.get("/searches", summary="All searches since the server began")
    def all_searches() -> list[dict[str, Any]]:
        return searches.all()

    @router.get("/searches/{search}", summary="How far a search is, and what it found")
    def watch(search: str) -> dict[str, Any]:
        return searches.do_search_watch({"search": search})

    @router.post("/searches/{search}/go", summary="Go on with what was planned")
    def go(search: str) -> dict[str, Any]:
        return searches.do_search_go({"search": search})

    @router.post("/searches/{search}/stop", summary="Stop, with the best so far")
    def stop(search: str) -> dict[str, Any]:
        return searches.do_search_stop({"search": search})

    @router.get("/searches/{search}/strips/{name}", summary="Pictures: choice, effects, blocks")
    def strip(search: str, name: str) -> Response:
        path = searches.strip_path(search, name)
        return Response(path.read_bytes(), media_type="image/png")


def add_mask_routes(router: APIRouter, server: TrainServer) -> None:
    """The routes of pictures' masks: `folder` holds the pictures, `name` is one of them."""

    def opened(folder: str, name: str) -> dict[str, str]:
        return {"set": str(server.opened.open(Path(folder))), "name": name}

    @router.get("/masks", summary="The mask of a picture as a PNG, white where the subject is")
    def mask(folder: str, name: str) -> Response:
        return Response(server.masks.read(opened(folder, name)), media_type="image/png")

    @router.put("/masks", summary="Put a mask beside a picture: the body is a picture file")
    async def put_mask(folder: str, name: str, request: Request) -> dict[str, Any]:
        content = await request.body()

        def put() -> dict[str, Any]:
            asked = opened(folder, name)
            server.masks.write(asked, content)
            return {"messages": server.masks.do_mask(asked)["messages"]}

        return await run_in_threadpool(put)

    @router.delete("/masks", summary="Take the mask beside a picture away; it is found anew")
    def forget_mask(folder: str, name: str) -> dict[str, Any]:
        return {"messages": server.masks.do_forget_mask(opened(folder, name))["messages"]}


class MessageRoute(APIRoute):
    """A route on which what the user can mend is an answer: its text, and its messages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's function, with what it raises made into an answer."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except UserError as error:
                content = {"detail": str(error), "messages": as_json(error.messages)}
                return JSONResponse(content, 404 if isinstance(error, MissingError) else 400)
            except HTTP_ERRORS:
                raise
            except Exception as error:
                told = as_user_error(error)
                content = {"detail": str(told), "messages": as_json(told.messages)}
                return JSONResponse(content, 500)

        return answer


async def _stream(job: Job, position: int) -> AsyncIterator[str]:
    """Events as they come, until the training ends; `id` is what to go on from."""
    path = job.training_folder / "events.jsonl"
    while True:
        ended = job.state() not in ("waiting", "running")
        events, position = events_after(path, position)
        for event in events[:-1]:
            yield f"data: {json.dumps(event)}\n\n"
        if events:
            yield f"id: {position}\ndata: {json.dumps(events[-1])}\n\n"
        elif ended:
            return
        await asyncio.sleep(LOOK_EVERY)
