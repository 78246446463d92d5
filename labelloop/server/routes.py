"""The routes of the labeling page: pictures by id, answers in, the next images out.

A request names images by id and classes by index; no path ever comes from the client. An answer is acknowledged only
when it is committed. See docs/architecture.md, "The API of the labeling page".
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from labelloop import worker
from labelloop.errors import BadInput, LabelloopError, NotSaved
from labelloop.live import Live
from labelloop.server import desk
from labelloop.server.items import Json, answered_items, items, people, reviewed, said
from labelloop.server.pictures import SIZES, picture
from labelloop.standing import classes_now
from labelloop.types import Event
from labelloop.ui.component import STATIC, static_version

log = logging.getLogger(__name__)

FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
KINDS = ("label", "unsure", "skip", "flag", "unflag", "note", "undo")


def json_route(work: Callable[[Live, Request, Json], Json]) -> Callable[[Request], Awaitable[Response]]:
    """A route from a plain function that may block: it gets the project, the request and its JSON body."""

    @functools.wraps(work)
    async def endpoint(request: Request) -> Response:
        try:
            body = json.loads(await request.body() or b"{}") if request.method == "POST" else {}
            live = desk.get(request.path_params["key"])
            return JSONResponse(await run_in_threadpool(work, live, request, body))
        except NotSaved as error:
            return JSONResponse({"error": str(error)}, 507)
        except BadAnswer as error:
            return JSONResponse({"error": str(error), "seq": error.seq, "now": error.now}, 400)
        except LabelloopError as error:
            return JSONResponse({"error": str(error)}, 400)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            log.warning("a request that makes no sense: %s", error, exc_info=True)
            return JSONResponse({"error": f"this request makes no sense: {error!r}"}, 400)

    return endpoint


class BadAnswer(BadInput):
    """One answer of a request cannot be stored; those before it are."""

    def __init__(self, text: str, seq: int, now: Json):
        super().__init__(text)
        self.seq = seq
        self.now = now  # as _now


# -- answers ---------------------------------------------------------------------------------------------------------


@json_route
def answers(live: Live, request: Request, body: Json) -> Json:
    """POST: append answers; acknowledged means committed to disk."""
    asked = time.monotonic()  # a page that is closed while its last answers are written wants no more images
    client, by = _text(body["client"], 64), _text(body.get("by", ""), 100)
    have, n = [int(image_id) for image_id in body["have"]], int(body.get("n", 24))
    events = []
    for answer in body["answers"]:
        try:
            events.append(_event(answer, client, by))
        except (BadInput, KeyError, TypeError, ValueError, OverflowError) as error:
            _store(live, events)
            raise BadAnswer(f"this answer makes no sense: {error!r}", int(answer["seq"]), {}) from error
    _store(live, events)
    acked = max((event.seq or 0 for event in events), default=0)
    now = _now(live, [event.image_id for event in events if event.kind == "undo"])
    return {"acked": acked, "now": now, **_queue(live, client, have, n, asked)}


def _store(live: Live, events: Sequence[Event]) -> None:
    """Store all, or else what can be stored, in order, up to the first that cannot, which BadAnswer names."""
    try:
        live.answer(events)
    except BadInput as error:
        for event in events:
            try:
                live.answer([event])
            except BadInput as bad:
                raise BadAnswer(str(bad), event.seq or 0, _now(live, [event.image_id])) from error


def _now(live: Live, image_ids: Sequence[int]) -> Json:
    """What is on disk for images of which a page may think otherwise, by id."""
    found = {event.image_id: said(event) for event in live.project.log.answers(image_ids=image_ids)}
    return {str(image_id): found.get(image_id) for image_id in image_ids}


def _event(answer: Json, client: str, by: str) -> Event:
    if answer["kind"] not in KINDS:
        raise BadInput(f"there is no kind of answer {answer['kind']!r}")
    if answer.get("source", "human") not in ("human", "accepted", "bulk"):
        raise BadInput(f"there is no source {answer['source']!r}")
    return Event(
        image_id=int(answer["image"]),
        kind=answer["kind"],
        class_index=None if answer["kind"] != "label" else int(answer["class"]),
        note=None if answer.get("note") is None else _text(answer["note"], 10_000),
        source=answer.get("source", "human"),
        by=by,
        seconds=None if answer.get("seconds") is None else float(answer["seconds"]),
        round=None if answer.get("round") is None else int(answer["round"]),
        strategy=None if answer.get("strategy") is None else _text(answer["strategy"], 100),
        undoes=None if answer.get("undoes") is None else int(answer["undoes"]),
        undoes_seq=None if answer.get("undoes_seq") is None else int(answer["undoes_seq"]),
        suggestion=None if answer.get("suggestion") is None else int(answer["suggestion"]),
        probability=None if answer.get("probability") is None else float(answer["probability"]),
        client=client,
        seq=int(answer["seq"]),
    )


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise BadInput(f"a text of at most {longest} characters was wanted, not {str(value)[:50]!r}")
    # JavaScript cuts texts by halves of a letter, and half an emoji is no text.
    return value.encode(errors="replace").decode()


# -- images ----------------------------------------------------------------------------------------------------------


@json_route
def state(live: Live, request: Request, body: Json) -> Json:
    """GET: where the project stands."""
    return live.state(request.query_params.get("client", ""))


@json_route
def goodbye(live: Live, request: Request, body: Json) -> Json:
    """POST: a page is closed, and others may have its images."""
    live.forget(_text(body["client"], 64))
    return {}


@json_route
def queue(live: Live, request: Request, body: Json) -> Json:
    """GET: the images one page should show next."""
    have = [int(i) for i in request.query_params.get("have", "").split(",") if i]
    asked = time.monotonic()
    return _queue(live, request.query_params["client"], have, int(request.query_params.get("n", 24)), asked)


def _queue(live: Live, client: str, have: Sequence[int], n: int, asked: float) -> Json:
    now = live.state(client)  # first: a page asks again when it hears of a newer version than it was given images of
    picks = live.take(client, have, min(n, 500), asked=asked)
    return {"items": items(live, live.board, picks, live.chosen_by), "state": now}


@json_route
def reserve(live: Live, request: Request, body: Json) -> Json:
    """GET: images for a page that loses the connection. No choice of the loop, so they belong to no round."""
    wanted = request.query_params
    picks = live.reserve(_text(wanted["client"], 64), min(int(wanted.get("n", 200)), 500))
    return {"items": items(live, live.board, picks, None)}


@json_route
def recent(live: Live, request: Request, body: Json) -> Json:
    """GET: one person's latest answers, newest first, with their events and the answers that they took the place of."""
    by, n = request.query_params.get("by", ""), min(int(request.query_params.get("n", 50)), 500)
    events = live.project.log.latest(n, by=by, answers_only=True)
    before = live.project.log.before(events)
    told = [{"answer": said(event), "event": event.id, "before": said(before.get(event.image_id))} for event in events]
    shown = answered_items(live, live.board, [event.image_id for event in events], with_neighbours=True)
    return {"items": [item | more for item, more in zip(shown, told, strict=True)]}


@json_route
def review(live: Live, request: Request, body: Json) -> Json:
    """GET: answered images, filtered and ordered, and who answered."""
    wanted = request.query_params
    show, order, find = wanted.get("show", "all"), wanted.get("order", "new"), _text(wanted.get("find", ""), 200)
    board = live.board.newest(live.project)  # what was just answered is there, though the model may not know it yet
    found = reviewed(live, board, show, wanted.get("class"), order, by=wanted.get("by"), find=find)
    offset, n = int(wanted.get("offset", 0)), min(int(wanted.get("n", 200)), 500)
    shown = answered_items(live, board, found[offset : offset + n], with_neighbours=False)
    return {"total": len(found), "items": shown, "people": people(board)}


# -- classes and jobs ------------------------------------------------------------------------------------------------


@json_route
def add_class(live: Live, request: Request, body: Json) -> Json:
    """POST: a new class."""
    index = live.project.add_class(_text(body["name"], 200))
    live.wake()
    return {**classes_now(live.project), "class": index}


@json_route
def rename_class(live: Live, request: Request, body: Json) -> Json:
    """POST: another name for a class."""
    index = request.path_params["index"]
    live.project.rename_class(_class_name(live, index), _text(body["name"], 200))
    live.wake()
    return {**classes_now(live.project), "class": index}


@json_route
def merge_class(live: Live, request: Request, body: Json) -> Json:
    """POST: one class out of two."""
    index = live.project.merge_class(_class_name(live, request.path_params["index"]), _class_name(live, body["into"]))
    live.wake()
    return {**classes_now(live.project), "class": index}


def _class_name(live: Live, index: Any) -> str:
    classes = live.project.classes
    if not isinstance(index, int) or not 0 <= index < len(classes):
        raise BadInput(f"there is no class {index}; there are {len(classes)}")
    return classes[index]


@json_route
def jobs(live: Live, request: Request, body: Json) -> Json:
    """POST: train now, or stop what is running."""
    if body.get("stop"):
        job = live.project.jobs.latest()
        if job is not None and job.is_open:
            live.project.jobs.stop(job.id)
    elif body.get("kind") == "finetune":
        worker.start(live.project, "fine-tune")
    else:
        raise BadInput("a job is {'kind': 'finetune'} or {'stop': true}")
    return live.state()


# -- files -----------------------------------------------------------------------------------------------------------


def image(size: str) -> Callable[[Request], Awaitable[Response]]:
    """GET: an image by id at one of SIZES."""

    async def endpoint(request: Request) -> Response:
        try:
            live = desk.get(request.path_params["key"])
            data, media_type = await run_in_threadpool(picture, live.project, size, request.path_params["image"])
        except BadInput as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(data, media_type=media_type, headers=FOREVER)

    return endpoint


async def static(request: Request) -> Response:
    """GET: a file of the component. The version in the address makes them safe to keep for ever."""
    path = STATIC / request.path_params["name"]
    if request.path_params["version"] != static_version() or path.parent != STATIC or not path.is_file():
        return JSONResponse({"error": "there is no such file in this version"}, 404)
    media_type = {".js": "text/javascript", ".css": "text/css"}.get(path.suffix)
    return FileResponse(path, media_type=media_type, headers=FOREVER)


def routes() -> list[Route]:
    """All routes of the labeling page."""
    return [
        Route("/ll/static/{version}/{name}", static),
        Route("/ll/{key}/state", state),
        Route("/ll/{key}/goodbye", goodbye, methods=["POST"]),
        Route("/ll/{key}/queue", queue),
        Route("/ll/{key}/reserve", reserve),
        Route("/ll/{key}/recent", recent),
        Route("/ll/{key}/review", review),
        Route("/ll/{key}/answers", answers, methods=["POST"]),
        Route("/ll/{key}/classes", add_class, methods=["POST"]),
        Route("/ll/{key}/classes/{index:int}", rename_class, methods=["POST"]),
        Route("/ll/{key}/classes/{index:int}/merge", merge_class, methods=["POST"]),
        Route("/ll/{key}/jobs", jobs, methods=["POST"]),
        *(Route(f"/ll/{{key}}/{size}/{{image:int}}", image(size)) for size in SIZES),
    ]
