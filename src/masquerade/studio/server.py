"""The HTTP side of the studio: what the page asks, and what it is told.

Pictures are JPEG, all else is JSON; what goes wrong is said as {"error": "a sentence"}.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import cv2
import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from masquerade.errors import MasqueradeError, MissingError, VideoError
from masquerade.methods import METHODS
from masquerade.pipeline.config import PipelineConfig
from masquerade.pipeline.edits import Edits
from masquerade.pipeline.levels import LEVELS, LevelName
from masquerade.pipeline.outputs import receipt_path
from masquerade.regions import REGIONS
from masquerade.regions.drawn import DRAWN_TRACKS
from masquerade.regions.face_detectors import centerface_file
from masquerade.regions.model_files import model_file
from masquerade.regions.template_library import Library
from masquerade.studio import decisions
from masquerade.studio.guard import REPORT_POLICY, SCRIPTED_POLICY, TooLargeError
from masquerade.studio.history import ChangedError
from masquerade.studio.scans import SeenTrack
from masquerade.studio.studio import Studio
from masquerade.studio.video_session import VideoSession
from masquerade.video.segments import Picture

PAGE = Path(__file__).with_name("static")
STALLED = 60.0  # seconds in which nothing of an upload comes, until it is given up
QUALITY = 88  # of JPEG
NEEDED = ("pose detection", "pose landmarks", "people detection")  # networks of the levels
Number = Annotated[int, Field(ge=0, lt=2**31)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
BoxEdges = tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class Asked(BaseModel):
    """The body of a request; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", strict=False)


class Place(Asked):
    path: str


class Settings(Asked):
    level: LevelName | None = None
    method: str | None = None
    arguments: dict[str, bool | int | float | str | None] | None = None
    regions: str | None = None
    threshold: float | None = None
    outside: Literal["keep", "black"] | None = None
    mask_scale: float | None = None
    feather: float | None = None
    audio: Literal["drop", "keep", "pitch"] | None = None


class TrackChoice(Asked):
    choice: Literal["hidden", "visible", "only", "all"] | None = None
    method: str | None = None


class Tracks(Asked):
    ids: list[Number] = Field(min_length=2, max_length=1000)


class OneTrack(Asked):
    id: Number


class Drawing(Asked):
    frame: Number
    box: BoxEdges


class Point(Asked):
    frame: Number
    x: Coordinate
    y: Coordinate
    name: str = Field("part", max_length=64)


class Switch(Asked):
    on: bool


class NewJob(Asked):
    kind: Literal["anonymize", "attack"]
    allow_empty: bool = False
    allow_gaps: bool = False
    job: str | None = None


def create_app(studio: Studio) -> FastAPI:
    """The application of one studio, to be put behind a `guard.Guard`."""
    app = FastAPI(
        title="masquerade studio",
        version=version("masquerade"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    _add_errors(app)
    _add_about(app, studio)
    _add_videos(app, studio)
    _add_pictures(app, studio)
    _add_people(app, studio)
    _add_drawn(app, studio)
    _add_edits(app, studio)
    _add_jobs(app, studio)
    app.mount("/static", StaticFiles(directory=PAGE), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> RedirectResponse:
        return RedirectResponse("/static/icon.svg")

    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(MasqueradeError)
    def refused(request: Request, error: Exception) -> JSONResponse:
        status = 503 if isinstance(error, MissingError) else 422
        status = 413 if isinstance(error, TooLargeError) else status
        status = 409 if isinstance(error, ChangedError) else status
        return JSONResponse({"error": _sentence(error)}, status)

    @app.exception_handler(KeyError)
    def unknown(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "there is no such video; it may have been closed."}, 404)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse({"error": f"{where or 'the request'}: {first['msg']}."}, 422)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        words = {404: "there is nothing at this address.", 405: "this cannot be asked here."}
        sentence = words.get(error.status_code, f"{error.detail}.")
        return JSONResponse({"error": sentence}, error.status_code, dict(error.headers or {}))

    @app.exception_handler(OSError)
    def failed(request: Request, error: Exception) -> JSONResponse:
        reason = getattr(error, "strerror", None) or error
        return JSONResponse({"error": f"this could not be done: {reason}."}, 507)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _add_about(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/about")
    def about() -> dict[str, Any]:
        lacking = missing_models()
        return {
            "version": version("masquerade"),
            "ready": not lacking,
            "missing": lacking,
            "root": studio.root is not None,
            "levels": [
                {"name": name, "hides": level.hides, "measured": level.measured}
                for name, level in LEVELS.items()
            ],
            "methods": [
                {
                    "name": name,
                    "hides": method.card.hides,
                    "undo": method.card.undo,
                    "arguments": method_arguments(name),
                }
                for name, method in METHODS.items()
                if not method.learned
            ],
            "regions": [
                {"name": name, "help": (inspect.getdoc(kind) or "").splitlines()[0]}
                for name, kind in REGIONS.items()
                if name not in ("boxes", "templates")
            ],
            "audio": ["drop", "keep", "pitch"],
            "templates": Library().names(),
        }

    @app.get("/api/root")
    def browse(path: str = "") -> Any:
        if studio.root is None:
            return JSONResponse({"error": "the studio was started without --root."}, 404)
        return studio.browse(path)

    @app.get("/api/report", response_class=FileResponse)
    def report(path: str) -> FileResponse:
        headers = {"content-security-policy": SCRIPTED_POLICY}
        return FileResponse(studio.report(path), media_type="text/html", headers=headers)


def _add_videos(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/videos")
    def videos() -> list[dict[str, Any]]:
        return [{"id": v.id, "name": v.name, "state": _state(v)} for v in studio.videos()]

    @app.post("/api/videos", status_code=201)
    async def upload(request: Request, name: str) -> dict[str, Any]:
        video = await studio.upload(name, _parts(request))
        return await run_in_threadpool(shown, video)

    @app.post("/api/videos/open", status_code=201)
    def open_video(place: Place) -> dict[str, Any]:
        return shown(studio.open(place.path))

    @app.get("/api/videos/{id}")
    def video(id: str) -> dict[str, Any]:
        return shown(studio.video(id))

    @app.delete("/api/videos/{id}", status_code=204)
    def forget(id: str) -> None:
        studio.forget(id)

    @app.put("/api/videos/{id}/settings")
    def settings(id: str, given: Settings) -> dict[str, Any]:
        found = studio.video(id)
        found.set(given.model_dump(exclude_unset=True))
        return shown(found)


async def _parts(request: Request) -> AsyncIterator[bytes]:
    """The parts of a body as they come; one that stalls is given up."""
    stream = request.stream().__aiter__()
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), STALLED)
        except StopAsyncIteration:
            return
        except ClientDisconnect:
            raise VideoError("the upload ended before it was whole.") from None
        except TimeoutError:
            raise VideoError(f"nothing of the upload came for {STALLED:.0f} seconds.") from None


def _add_pictures(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/videos/{id}/frames/{frame}.jpg", response_class=Response)
    def frame_picture(id: str, frame: Number, view: Literal["raw", "result"] = "raw") -> Response:
        video = studio.video(id)
        raw = view == "raw"
        return _jpeg(video.pictures.read(frame) if raw else video.result(frame))

    @app.get("/api/videos/{id}/levels/{level}.jpg", response_class=Response)
    def level_picture(id: str, level: LevelName, frame: Number = 0) -> Response:
        video = studio.video(id)
        return _jpeg(video.result(frame, video.at_level(level)))

    @app.get("/api/videos/{id}/method.jpg", response_class=Response)
    def method_picture(id: str, name: str, frame: Number = 0) -> Response:
        video = studio.video(id)
        return _jpeg(video.result(frame, video.with_method(name)))

    @app.get("/api/videos/{id}/heat.jpg", response_class=Response)
    def heat_picture(id: str, template: str, frame: Number = 0) -> Response:
        return _jpeg(studio.video(id).heat(frame, template))

    @app.get("/api/videos/{id}/tracks/{track}.jpg", response_class=Response)
    def thumbnail(id: str, track: Number) -> Response:
        return _jpeg(studio.video(id).thumbnail(track))


def _jpeg(picture: Picture) -> Response:
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return Response(data.tobytes(), media_type="image/jpeg")


def _add_people(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/videos/{id}/strip")
    def strip(id: str) -> dict[str, Any]:
        video = studio.video(id)
        scan = video.scan()
        by_hand = sorted({t for one in video.edits.drawn for t in one.boxes})
        return {
            "frames": max(video.pictures.frames, scan.done),
            "done": scan.done,
            "found": list(scan.found),
            "share": list(scan.share),
            "marks": scan.marks(by_hand),
        }

    @app.get("/api/videos/{id}/tracks")
    def tracks(id: str) -> dict[str, Any]:
        video = studio.video(id)
        return {
            "only": bool(video.edits.only),
            "choosable": not video.only_finds(),
            "tracks": [_track(one, video.edits) for one in video.tracks()],
        }

    @app.get("/api/videos/{id}/found")
    def found(id: str, frame: Number = 0) -> dict[str, Any]:
        region = studio.video(id).region(frame)
        boxes = [(box, True) for box in region.boxes] + [(box, False) for box in region.visible]
        return {
            "boxes": [
                {
                    "track": box.track,
                    "label": box.label,
                    "score": round(box.score, 3),
                    "source": box.source,
                    "hidden": hidden,
                    "box": [round(edge, 1) for edge in (box.x0, box.y0, box.x1, box.y1)],
                }
                for box, hidden in boxes
            ]
        }

    @app.put("/api/videos/{id}/tracks/{track}")
    def choose(id: str, track: Number, asked: TrackChoice) -> dict[str, Any]:
        video = studio.video(id)
        named = "method" in asked.model_fields_set
        video.choose(track, asked.choice, asked.method if named else False)
        return shown(video)

    @app.post("/api/videos/{id}/tracks/join")
    def join(id: str, tracks: Tracks) -> dict[str, Any]:
        video = studio.video(id)
        video.join(tuple(tracks.ids))
        return shown(video)

    @app.post("/api/videos/{id}/tracks/split")
    def split(id: str, track: OneTrack) -> dict[str, Any]:
        video = studio.video(id)
        video.split(track.id)
        return shown(video)


def _track(one: SeenTrack, edits: Edits) -> dict[str, Any]:
    same = edits.same_person(one.id)
    chosen = {k for track in (*edits.visible, *edits.only) for k in edits.same_person(track)}
    hidden = one.id in chosen if edits.only else one.id not in chosen
    methods = (name for track, name in edits.methods.items() if track in same)
    return {
        "id": one.id,
        "ids": list(same),
        "label": one.label,
        "first": one.frames[0],
        "last": one.frames[-1],
        "frames": len(one.frames),
        "best": one.best,
        "choice": "hidden" if hidden or one.id >= DRAWN_TRACKS else "visible",
        "method": next(methods, None),
        "spans": one.spans(),
    }


def _add_drawn(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/videos/{id}/drawn")
    def draw(id: str, drawing: Drawing) -> dict[str, Any]:
        video = studio.video(id)
        video.draw(drawing.frame, drawing.box)
        return shown(video)

    @app.put("/api/videos/{id}/drawn/{track}")
    def correct(id: str, track: Number, drawing: Drawing) -> dict[str, Any]:
        video = studio.video(id)
        video.correct(track, drawing.frame, drawing.box)
        return shown(video)

    @app.delete("/api/videos/{id}/drawn/{track}")
    def undraw(id: str, track: Number) -> dict[str, Any]:
        video = studio.video(id)
        video.undraw(track)
        return shown(video)

    @app.post("/api/videos/{id}/templates")
    def add_template(id: str, point: Point) -> dict[str, Any]:
        video = studio.video(id)
        video.add_template(point.frame, point.x, point.y, template_name(point.name))
        return shown(video)

    @app.put("/api/videos/{id}/templates/{name}")
    def switch_template(id: str, name: str, switch: Switch) -> dict[str, Any]:
        video = studio.video(id)
        video.switch_template(name, on=switch.on)
        return shown(video)

    @app.delete("/api/videos/{id}/templates/{name}")
    def remove_template(id: str, name: str) -> dict[str, Any]:
        video = studio.video(id)
        if name in decisions.template_names(video.edits):
            video.switch_template(name, on=False)
        Library().remove(name)
        return shown(video)


def _add_edits(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/videos/{id}/undo")
    def undo(id: str, seen: Number | None = None) -> dict[str, Any]:
        video = studio.video(id)
        video.undo(seen)
        return shown(video)

    @app.post("/api/videos/{id}/redo")
    def redo(id: str, seen: Number | None = None) -> dict[str, Any]:
        video = studio.video(id)
        video.redo(seen)
        return shown(video)

    @app.get("/api/videos/{id}/edits.json")
    def edits(id: str) -> Response:
        video = studio.video(id)
        named = f"{Path(video.name).stem}.edits.json"
        return _download(video.edits.to_json().encode("utf-8", "backslashreplace"), named)

    @app.put("/api/videos/{id}/edits")
    async def take(id: str, request: Request) -> dict[str, Any]:
        text = (await request.body()).decode("utf-8", "replace")

        def taken() -> dict[str, Any]:
            video = studio.video(id)
            video.take(Edits.parse(text, "this file"))
            return shown(video)

        return await run_in_threadpool(taken)


def _download(content: bytes, name: str) -> Response:
    plain = name.encode("ascii", "replace").decode().replace('"', "_").replace("?", "_")
    headers = {"content-disposition": f'attachment; filename="{plain}"'}
    return Response(content, media_type="application/json", headers=headers)


def _add_jobs(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/videos/{id}/jobs", status_code=201)
    def add(id: str, asked: NewJob, seen: Number | None = None) -> dict[str, Any]:
        if asked.kind == "attack":
            return studio.attack(id, asked.job or "").shown()
        empty, gaps = asked.allow_empty, asked.allow_gaps
        return studio.anonymize(id, allow_empty=empty, allow_gaps=gaps, seen=seen).shown()

    @app.get("/api/jobs")
    def jobs() -> list[dict[str, Any]]:
        return [job.shown() for job in studio.jobs.all()]

    @app.delete("/api/jobs/{id}", status_code=204)
    def remove(id: str) -> None:
        studio.jobs.remove(id)

    @app.get("/api/jobs/{id}/result", response_class=FileResponse)
    def result(id: str) -> FileResponse:
        path = studio.result(id)
        return FileResponse(path, filename=studio.jobs.get(id).result)

    @app.get("/api/jobs/{id}/receipt", response_class=FileResponse)
    def receipt(id: str) -> FileResponse:
        path = receipt_path(studio.result(id), PipelineConfig())
        return FileResponse(path, filename=path.name)

    @app.get("/api/jobs/{id}/page", response_class=FileResponse)
    def page(id: str) -> FileResponse:
        headers = {"content-security-policy": REPORT_POLICY}
        path = studio.result(id)
        if studio.jobs.get(id).kind != "attack":
            raise VideoError("this job made no page.")
        return FileResponse(path, media_type="text/html", headers=headers)


def _state(video: VideoSession) -> str:
    if video.pictures.error is not None:
        return "failed"
    return "ready" if video.pictures.done else "reading"


def shown(video: VideoSession) -> dict[str, Any]:
    """A video as the page is told."""
    info, scan, history, edits = video.pictures.info, video.scan(), video.history, video.edits
    pictures = video.pictures
    frames = info.frames or (round(info.duration * info.rate) if info.duration else None)
    return {
        "id": video.id,
        "name": video.name,
        "state": _state(video),
        "error": pictures.error,
        "width": info.width,
        "height": info.height,
        "rate": float(info.rate),
        "duration": info.duration,
        "frames": pictures.frames,
        "frames_expected": pictures.frames if pictures.done else frames,
        "revision": history.revision * 100_000 + -(-scan.done // 32),
        "decisions": history.revision,
        "notice": video.notice,
        "visible": sorted({k for track in edits.visible for k in edits.same_person(track)}),
        "only": sorted({k for track in edits.only for k in edits.same_person(track)}),
        "scan": {"state": scan.state, "done": scan.done, "error": scan.error},
        "settings": video.settings(),
        "undo": history.undo_name,
        "redo": history.redo_name,
        "drawn": [
            {
                "id": str(one.track),
                "first": min(one.boxes),
                "last": max(one.boxes),
                "lost": video.lost(one.track),
                "keys": list(one.keys),
            }
            for one in edits.drawn
        ],
        "templates": [
            {"id": name, "name": name, "on": name in decisions.template_names(edits)}
            for name in sorted({*Library().names(), *decisions.template_names(edits)})
        ],
        "log": [vars(line) for line in edits.log],
    }


def missing_models() -> list[str]:
    """What the levels need and this machine lacks, with what to do, in sentences."""
    found = []
    looks: list[Callable[[], Path]] = [centerface_file]
    looks += [partial(model_file, name) for name in NEEDED]
    for look in looks:
        try:
            look()
        except MissingError as error:
            found.append(_sentence(error))
    return found


def template_name(given: str) -> str:
    """A name as the library takes it, of one that a person typed."""
    plain = re.sub("[^a-z0-9_]+", "-", given.lower()).strip("-_")
    return plain[:64] or "part"


def method_arguments(name: str) -> list[dict[str, Any]]:
    """The arguments of a method that a form can ask for."""
    method = METHODS[name]
    hints = get_type_hints(method.__init__, include_extras=True)
    found = []
    for key, parameter in inspect.signature(method).parameters.items():
        kind, choices = _form_field(hints.get(key))
        if kind is not None:
            about = {"name": key, "kind": kind, "default": parameter.default, "help": ""}
            found.append({**about, **({"choices": choices} if choices else {})})
    return found


def _form_field(hint: Any) -> tuple[str | None, list[Any]]:
    """The kind of field for a type, and its choices; None: no form can ask for it."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return "choice", list(get_args(hint))
    options = [one for one in get_args(hint) if one is not NoneType]
    if options and NoneType in get_args(hint) and len(options) == 1:
        return _form_field(options[0])
    kinds = {bool: "flag", int: "integer", float: "number", str: "text"}
    return kinds.get(hint), []
