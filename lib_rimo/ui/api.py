"""The HTTP API: trainings under `/rimo/v1/`, in a WebUI's own application or the standalone's."""

import asyncio
import json
import mimetypes
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from lib_rimo.errors import MissingError, UserError
from lib_rimo.training.events import events_after
from lib_rimo.training.jobs.folder import Job
from lib_rimo.ui.access import Guard
from lib_rimo.ui.train_server import TrainServer, as_json

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
        return server.describe(server.start(server.filled_in(training.options)))

    @router.get("/jobs", summary="All trainings, the newest first")
    def jobs() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = server.do_jobs({})["jobs"]
        return listed

    @router.get("/jobs/{job}", summary="One training in full")
    def show(job: str) -> dict[str, Any]:
        return server.show(find(job))

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
        return server.describe(find(job))

    @router.post("/jobs/{job}/{command}", summary="Stop, save or sample")
    def command(job: str, command: str) -> dict[str, Any]:
        server.command(find(job), command)
        return server.describe(find(job))

    @router.get("/jobs/{job}/samples", summary="The sample pictures so far: step and name")
    def samples(job: str) -> list[dict[str, Any]]:
        shown = server.show(find(job))["samples"]
        return [{"step": step, "name": name} for step, name in shown]

    @router.get("/jobs/{job}/samples/{name}", summary="One sample picture")
    def sample(job: str, name: str) -> Response:
        path = server.sample_path(find(job), name)
        kind, _ = mimetypes.guess_type(path.name)
        return Response(server.opened.held.read(path), media_type=kind)

    return router


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
