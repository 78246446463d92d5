"""A stand-in for the server that keeps everything in memory: the API of the labeling page, and a bare page to hold it.

    python tests/e2e/stub.py 8700 [folder of images]     # look at it by hand

Tests hold the Project and read its log, or tell it to fail. It computes answers as the real server would, but has no
model: suggestions are made up from the image's number. Left out: origin checks, embedding, more than one project.
"""

from __future__ import annotations

import io
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image, ImageDraw
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from labelloop.ui.component import STATIC, static_version

BASE = "/ll/stub"
HTML = """<!doctype html><meta charset="utf-8"><title>labelloop</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body { margin: 0; padding: 12px 20px 0; font-family: system-ui } </style><div id="root"></div>
<script type="module">
  import { mount } from "/ll/static/%s/labeler.js";
  const wanted = new URLSearchParams(location.search);
  const data = { base: "%s", mode: wanted.get("mode") ?? "label", by: wanted.get("by") ?? "anna" };
  window.page = mount({ parentElement: document.getElementById("root"), data });
</script>"""


@dataclass
class Project:
    """The answers, and the knobs that make the server misbehave."""

    classes: list[str] = field(default_factory=lambda: ["rust", "mildew", "healthy"])
    first_names: dict[int, str] = field(default_factory=dict)  # of classes that were renamed
    merged: dict[int, int] = field(default_factory=dict)  # classes that are part of another
    images: int = 200
    names: dict[int, str] = field(default_factory=dict)
    folder: list[Path] = field(default_factory=list)
    embedded: int | None = None
    job: dict[str, Any] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    given: dict[int, list[int]] = field(default_factory=dict)  # the events of these answers, counted from 1
    flagged: set[int] = field(default_factory=set)
    notes: dict[int, str] = field(default_factory=dict)
    seqs: dict[str, set[int]] = field(default_factory=dict)
    refuse: tuple[int, str] | None = None  # status and text for every POST of answers
    flight: int = 1000  # answers stored of one request; the others must be sent again
    doubt: int = 1  # another number is another order of what is doubtful
    delay: float = 0.0  # seconds before any answer
    slow: dict[str, float] = field(default_factory=dict)  # seconds, once, before images with these words are found
    exam_every: int = 10
    again: set[int] = field(default_factory=set)  # to be asked about once more, when they have one answer
    reserve: list[int] = field(default_factory=list)  # the reserve as it was last handed out
    elsewhere: set[int] = field(default_factory=set)  # images that another page has
    kept: dict[str, list[int]] = field(default_factory=dict)  # what each open page said that it has

    def is_exam(self, image: int) -> bool:
        return self.exam_every > 0 and image % self.exam_every == 0

    def answer(self, image: int) -> dict[str, Any] | None:
        newest = self.answers.get(image, [])
        return newest[-1] if newest else None

    def classes_now(self) -> dict[str, Any]:
        names = [self.classes[self.merged.get(k, k)] for k in range(len(self.classes))]
        first = [self.first_names.get(k, name) for k, name in enumerate(self.classes)]
        return {"classes": names, "first_names": first, "merged": self.merged}

    def labels(self) -> dict[int, int]:
        """The class of each labeled image."""
        now = {image: self.answer(image) for image in list(self.answers)}  # a copy: other threads add to it
        return {image: a["class"] for image, a in now.items() if a and a["kind"] == "label"}

    def take(self, client: str, by: str, answer: dict[str, Any]) -> None:
        """Commit one answer, once."""
        seen = self.seqs.setdefault(client, set())
        if answer["seq"] in seen:
            return
        seen.add(answer["seq"])
        image, kind = answer["image"], answer["kind"]
        if kind == "undo" and not self.stands(client, answer):
            raise ValueError(f"{self.newest(image)['by']} has answered this image since")
        self.log.append({"client": client, "by": by, **answer})
        if kind in {"label", "unsure", "skip"}:
            new = {"kind": kind, "class": answer["class"]} if kind == "label" else {"kind": kind}
            self.answers.setdefault(image, []).append(new)
            self.given.setdefault(image, []).append(len(self.log))
        elif kind == "undo" and self.answers.get(image):
            self.answers[image].pop()
            self.given[image].pop()
        elif kind == "flag":
            self.flagged.add(image)
        elif kind == "unflag":
            self.flagged.discard(image)
        elif kind == "note":
            self.notes[image] = answer["note"]

    def newest(self, image: int) -> dict[str, Any]:
        """The event of the log that is the answer of this image."""
        return self.log[self.given[image][-1] - 1]

    def stands(self, client: str, undo: dict[str, Any]) -> bool:
        """Whether what is taken back is the answer of its image."""
        if undo["undoes_seq"] is None:
            return bool(undo["undoes"] == self.given[undo["image"]][-1])
        newest = self.newest(undo["image"])
        return (newest["client"], newest["seq"]) == (client, undo["undoes_seq"])

    def recent(self, image: int) -> dict[str, Any]:
        """An answered image, with what an undo needs."""
        before = self.answers[image][:-1]
        return {**self.item(image), "event": self.given[image][-1], "before": before[-1] if before else None}

    def acked(self, client: str) -> int:
        seen = self.seqs.get(client, set())
        return next(seq for seq in range(len(seen) + 1) if seq + 1 not in seen)

    def item(self, image: int) -> dict[str, Any]:
        size = 3 if self.classes else 0
        guesses = random.Random(image).sample(range(len(self.classes)), min(size, len(self.classes)))
        exam = self.is_exam(image)
        probs = [] if exam else [[index, p] for index, p in zip(guesses, (0.46, 0.38, 0.09), strict=False)]
        torn = " and ".join(f"{self.classes[index]} ({round(p * 100)} %)" for index, p in probs[:2])
        answered = [(i, self.answer(i)) for i in list(self.answers)[-5:] if i != image]
        labeled = [(i, a["class"]) for i, a in answered if a and a["kind"] == "label"][-3:]
        return {
            "id": image, "name": self.names.get(image, f"field3/IMG_{image:04}.jpg"), "w": 320, "h": 240, "exam": exam,
            "suggestion": probs[0][0] if probs else None, "probability": probs[0][1] if probs else None, "probs": probs,
            "reason": "" if exam else f"torn between {torn}; nothing like it is labeled yet",
            "neighbours": [] if exam else [{"id": i, "class": c} for i, c in labeled],
            "round": 1, "strategy": "auto", "answer": self.answer(image), "flagged": image in self.flagged,
            "note": self.notes.get(image, ""),
        }  # fmt: skip

    def queue(self, client: str, have: list[int], n: int) -> list[dict[str, Any]]:
        if n:
            self.kept[client] = have
        return self.upcoming([*have, *self.elsewhere], n)

    def upcoming(self, have: list[int], n: int) -> list[dict[str, Any]]:
        ready = range(1, (self.images if self.embedded is None else self.embedded) + 1)
        again = [self.blind(i) for i in sorted(self.again.difference(have)) if len(self.answers.get(i, [])) == 1]
        return [*again, *(self.item(i) for i in islice((i for i in ready if i not in have and not self.answer(i)), n))]

    def blind(self, image: int) -> dict[str, Any]:
        """An image that is asked about again: nothing tells what was answered, or what might be."""
        nothing = {"suggestion": None, "probability": None, "probs": [], "neighbours": [], "answer": None}
        return {**self.item(image), **nothing, "again": True, "reason": "asked once more", "strategy": "ask_again"}

    def draw_reserve(self, n: int) -> list[dict[str, Any]]:
        """Open images, none of them held out or among those that the queue hands out next."""
        queued = {item["id"] for item in self.upcoming([], 40)}
        ready = range(1, self.images + 1)
        free = [i for i in ready if not (self.answer(i) or self.is_exam(i) or i in queued)]
        self.reserve = random.Random(1).sample(free, min(n, len(free)))
        nothing = {"suggestion": None, "probability": None, "probs": [], "neighbours": [], "round": None}
        why = {"strategy": "random", "reason": "drawn at random, because the server could not be reached"}
        return [{**self.item(i), **nothing, **why} for i in self.reserve]

    def state(self) -> dict[str, Any]:
        labels = self.labels()
        kinds = [a["kind"] for a in (self.answer(i) for i in list(self.answers)) if a]
        n = sum(self.is_exam(i) for i in labels)
        enough = n >= 20
        return {
            **self.classes_now(), "images": self.images, "unreadable": 0,
            "embedded": self.images if self.embedded is None else self.embedded,
            "open": self.images - len(kinds), "elsewhere": len(self.elsewhere),
            "labeled": len(labels), "counts": [list(labels.values()).count(k) for k in range(len(self.classes))],
            "unsure": kinds.count("unsure"), "flagged": len(self.flagged),
            "exam": {"n": n, "wanted": 20, "accuracy": 0.91 if enough else None,
                     "low": 0.84 if enough else None, "high": 0.95 if enough else None},
            "model": {"labels": len(labels)} if labels else None, "job": self.job, "strategy": "auto", "notice": None,
            "version": len(labels) // 10,
        }  # fmt: skip

    def people(self) -> list[str]:
        return sorted({self.newest(image)["by"] for image in self.answers if self.answer(image)})

    def review(self, show: str, index: int | None, order: str, by: str | None = None, find: str = "") -> list[int]:
        words = find.casefold().split()

        def wanted(image: int) -> bool:
            answer = self.answer(image)
            if not all(word in self.item(image)["name"].casefold() for word in words):
                return False
            if by is not None and not (answer and self.newest(image)["by"] == by):
                return False
            if show == "flagged":
                return image in self.flagged
            if show == "noted":
                return image in self.notes
            if not answer:
                return False
            return {
                "all": True,
                "class": answer.get("class") == index,
                "unsure": answer["kind"] == "unsure",
                "skipped": answer["kind"] == "skip",
                "exam": self.is_exam(image),
                "disagree": not self.is_exam(image) and self.item(image)["suggestion"] != answer.get("class"),
            }[show]

        touched = list(dict.fromkeys(e["image"] for e in self.log if wanted(e["image"])))
        if order == "doubt":
            return sorted(touched, key=lambda image: (image * self.doubt) % 9973)
        return touched if order == "old" else touched[::-1]


def routes(project: Project) -> list[Any]:
    """All routes of the API for one project."""

    async def page(request: Request) -> Response:
        return HTMLResponse(HTML % (static_version(), BASE))

    def state(request: Request) -> Response:
        time.sleep(project.delay)
        return JSONResponse(project.state())

    def queue(request: Request) -> Response:
        time.sleep(project.delay)
        have = [int(i) for i in request.query_params.get("have", "").split(",") if i]
        items = project.queue(request.query_params["client"], have, int(request.query_params["n"]))
        return JSONResponse({"items": items, "state": project.state()})

    async def goodbye(request: Request) -> Response:
        project.kept.pop((await request.json())["client"], None)
        return JSONResponse({})

    def reserve(request: Request) -> Response:
        return JSONResponse({"items": project.draw_reserve(int(request.query_params["n"]))})

    async def answers(request: Request) -> Response:
        time.sleep(project.delay)
        body = await request.json()
        assert request.headers["X-Labelloop"] == "1"
        if project.refuse:
            return JSONResponse({"error": project.refuse[1]}, project.refuse[0])
        for answer in body["answers"][: project.flight]:
            if answer["kind"] == "label" and not 0 <= answer["class"] < len(project.classes):
                project.seqs.setdefault(body["client"], set()).add(answer["seq"])
                return JSONResponse({"error": "there is no such class", "seq": answer["seq"]}, 400)
            try:
                project.take(body["client"], body["by"], answer)
            except ValueError as error:
                now = {answer["image"]: project.answer(answer["image"])}
                return JSONResponse({"error": str(error), "seq": answer["seq"], "now": now}, 400)
        items = project.queue(body["client"], body["have"], body["n"])
        now = {one["image"]: project.answer(one["image"]) for one in body["answers"] if one["kind"] == "undo"}
        acked = project.acked(body["client"])
        return JSONResponse({"acked": acked, "now": now, "items": items, "state": project.state()})

    async def classes(request: Request) -> Response:
        name = (await request.json())["name"].strip()
        if not name or name in project.classes:
            return JSONResponse({"error": f"there is a class {name!r} already"}, 400)
        project.classes.append(name)
        return JSONResponse({**project.classes_now(), "class": len(project.classes) - 1})

    async def rename(request: Request) -> Response:
        name, index = (await request.json())["name"].strip(), request.path_params["index"]
        if name in project.classes:
            return JSONResponse({"error": f"the class names {name!r} and {name!r} are the same"}, 400)
        project.first_names.setdefault(index, project.classes[index])
        project.classes[index] = name
        return JSONResponse({**project.classes_now(), "class": index})

    async def merge(request: Request) -> Response:
        index, into = request.path_params["index"], (await request.json())["into"]
        project.merged[index] = into
        for answers in project.answers.values():
            answers[:] = [{**a, "class": into} if a.get("class") == index else a for a in answers]
        return JSONResponse({**project.classes_now(), "class": into})

    async def jobs(request: Request) -> Response:
        project.job = {
            "id": 1,
            "kind": "fine-tune",
            "state": "running",
            "done": 3,
            "total": 12,
            "message": "round 1 of 4",
            "seconds_left": 40,
        }
        return JSONResponse(project.state())

    def recent(request: Request) -> Response:
        images = project.review("all", None, "new")[: int(request.query_params["n"])]
        return JSONResponse({"items": [project.recent(i) for i in images]})

    def review(request: Request) -> Response:
        ask = request.query_params
        time.sleep(project.slow.pop(ask["find"], 0))
        images = project.review(ask["show"], int(ask.get("class", -1)), ask["order"], ask.get("by"), ask["find"])
        start = int(ask["offset"])
        part = images[start : start + int(ask["n"])]
        items = [project.item(i) for i in part]
        return JSONResponse({"total": len(images), "items": items, "people": project.people()})

    def picture(request: Request) -> Response:
        image = request.path_params["id"]
        headers = {"Cache-Control": "max-age=31536000, immutable"}
        if project.folder:
            return FileResponse(project.folder[image % len(project.folder)], headers=headers)
        return Response(draw(image % 60), media_type="image/jpeg", headers=headers)

    class Static(StaticFiles):
        def lookup_path(self, path: str) -> Any:
            return super().lookup_path(path.split("/", 1)[-1])  # without the version

    return [
        Route("/", page), Route(f"{BASE}/state", state), Route(f"{BASE}/queue", queue),
        Route(f"{BASE}/reserve", reserve), Route(f"{BASE}/goodbye", goodbye, methods=["POST"]),
        Route(f"{BASE}/answers", answers, methods=["POST"]), Route(f"{BASE}/classes", classes, methods=["POST"]),
        Route(f"{BASE}/classes/{{index:int}}", rename, methods=["POST"]),
        Route(f"{BASE}/classes/{{index:int}}/merge", merge, methods=["POST"]),
        Route(f"{BASE}/jobs", jobs, methods=["POST"]), Route(f"{BASE}/recent", recent), Route(f"{BASE}/review", review),
        Route(f"{BASE}/thumb/{{id:int}}", picture), Route(f"{BASE}/view/{{id:int}}", picture),
        Route(f"{BASE}/full/{{id:int}}", picture),
        Mount("/ll/static", Static(directory=STATIC)),
    ]  # fmt: skip


@cache
def draw(image: int) -> bytes:
    """A coloured picture with its number on it."""
    picture = Image.new("RGB", (320, 240), f"hsl({image * 47 % 360}, 45%, 62%)")
    ImageDraw.Draw(picture).text((160, 120), str(image), fill="white", anchor="mm", font_size=90)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()


class Server:
    """The stub on a port of its own, in a thread; can be stopped and started again on the same port."""

    def __init__(self, project: Project, port: int = 0, app: Any = None) -> None:
        self.project = project
        self.port = port
        self.app = app or Starlette(routes=routes(project))
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, log_level="warning",
                                timeout_graceful_shutdown=1)  # fmt: skip
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)
        self._thread.start()
        while not self._uvicorn.started:
            assert self._thread.is_alive(), "the stub server did not start"
            time.sleep(0.01)
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


if __name__ == "__main__":
    pictures = sorted(Path(sys.argv[2]).rglob("*.jpg")) if len(sys.argv) > 2 else []
    Server(Project(folder=pictures), int(sys.argv[1]))._thread.join()
