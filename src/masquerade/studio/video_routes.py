"""What the page asks of one video: pictures, people, regions, decisions.

Pictures are JPEG, all else is JSON.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import cv2
import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from masquerade.errors import VideoError
from masquerade.pipeline.edits import Edits
from masquerade.pipeline.levels import LevelName
from masquerade.pipeline.track_methods import hides_alone
from masquerade.regions.drawn import DRAWN_TRACKS
from masquerade.studio import decisions
from masquerade.studio.found_pieces import LENGTH
from masquerade.studio.requests import (
    Drawing,
    Number,
    OneTrack,
    Place,
    Point,
    Settings,
    Switch,
    TrackChoice,
    Tracks,
)
from masquerade.studio.scans import SeenTrack
from masquerade.studio.studio import Studio
from masquerade.studio.template_keys import template_kinds
from masquerade.studio.video_session import VideoSession
from masquerade.video.segments import Picture

STALLED = 60.0  # seconds in which nothing of an upload comes, until it is given up
QUALITY = 88  # of JPEG


def add_video_routes(app: FastAPI, studio: Studio) -> None:
    """Add what the page asks of videos."""
    _add_videos(app, studio)
    _add_pictures(app, studio)
    _add_people(app, studio)
    _add_drawn(app, studio)
    _add_edits(app, studio)


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
        session = studio.video(id)
        session.set(given.model_dump(exclude_unset=True))
        return shown(session)

    @app.post("/api/videos/{id}/search")
    def search(id: str) -> dict[str, Any]:
        session = studio.video(id)
        session.scan_anew()
        return shown(session)


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
        return jpeg(video.filmed(frame) if raw else video.result(frame))

    @app.get("/api/videos/{id}/levels/{level}.jpg", response_class=Response)
    def level_picture(id: str, level: LevelName, frame: Number = 0) -> Response:
        video = studio.video(id)
        return jpeg(video.result(frame, video.with_setting({"level": level})))

    @app.get("/api/videos/{id}/method.jpg", response_class=Response)
    def method_picture(id: str, name: str, frame: Number = 0) -> Response:
        video = studio.video(id)
        return jpeg(video.result(frame, video.with_setting({"method": name})))

    @app.get("/api/videos/{id}/heat.jpg", response_class=Response)
    def heat_picture(id: str, template: str, frame: Number = 0) -> Response:
        return jpeg(studio.video(id).heat(frame, template))

    @app.get("/api/videos/{id}/tracks/{track}.jpg", response_class=Response)
    def thumbnail(id: str, track: Number) -> Response:
        return jpeg(studio.video(id).thumbnail(track))


def jpeg(picture: Picture) -> Response:
    """The answer that is a picture."""
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return Response(data.tobytes(), media_type="image/jpeg")


def _add_people(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/videos/{id}/strip")
    def strip(id: str) -> dict[str, Any]:
        video = studio.video(id)
        edits, revision = video.history.now()  # before the search, as in `shown`
        scan = video.scan()
        return {
            "decisions": revision,
            "frames": max(video.pictures.frames, scan.done),
            "done": scan.done,
            "found": list(scan.found),
            "share": list(scan.share),
            "marks": scan.marks(edits.drawn),
        }

    @app.get("/api/videos/{id}/tracks")
    def tracks(id: str) -> dict[str, Any]:
        video = studio.video(id)
        anonymizer = video.edits.anonymizer()
        return {
            "only": bool(video.edits.only),
            "choosable": not anonymizer.shows_nobody,
            "methods": hides_alone(anonymizer),  # whether somebody may be hidden by another one
            "listed": video.scan().kind is not None,  # whether whoever is found has a number
            "tracks": [_track(track, video.edits) for track in video.tracks()],
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
                    "source": box.source,
                    "hidden": hidden,
                    "box": [round(edge, 1) for edge in (box.x0, box.y0, box.x1, box.y1)],
                }
                for box, hidden in boxes
            ]
        }

    @app.put("/api/videos/{id}/tracks/{track}")
    def choose(
        id: str, track: Number, asked: TrackChoice, seen: Number | None = None
    ) -> dict[str, Any]:
        video = studio.video(id)
        named = "method" in asked.model_fields_set
        video.choose(track, asked.choice, asked.method if named else False, seen)
        return shown(video)

    @app.post("/api/videos/{id}/tracks/hide-all")
    def hide_all(id: str) -> dict[str, Any]:
        video = studio.video(id)
        video.hide_all()
        return shown(video)

    @app.post("/api/videos/{id}/tracks/join")
    def join(id: str, tracks: Tracks, seen: Number | None = None) -> dict[str, Any]:
        video = studio.video(id)
        video.join(tuple(tracks.ids), seen)
        return shown(video)

    @app.post("/api/videos/{id}/tracks/split")
    def split(id: str, track: OneTrack, seen: Number | None = None) -> dict[str, Any]:
        video = studio.video(id)
        video.split(track.id, seen)
        return shown(video)


def _track(seen: SeenTrack, edits: Edits) -> dict[str, Any]:
    same = edits.tracks_of_person(seen.id)
    chosen = {k for track in (*edits.visible, *edits.only) for k in edits.tracks_of_person(track)}
    hidden = seen.id in chosen if edits.only else seen.id not in chosen
    methods = (name for track, name in edits.methods.items() if track in same)
    return {
        "id": seen.id,
        "ids": list(same),
        "label": seen.label,
        "first": seen.frames[0],
        "last": seen.frames[-1],
        "frames": len(seen.frames),
        "best": seen.best,
        "choice": "hidden" if hidden or seen.id >= DRAWN_TRACKS else "visible",
        "method": next(methods, None),
        "spans": seen.spans(),
    }


def _add_drawn(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/videos/{id}/drawn")
    def draw(id: str, drawing: Drawing) -> dict[str, Any]:
        video = studio.video(id)
        video.draw(drawing.frame, drawing.box)
        return shown(video)

    @app.put("/api/videos/{id}/drawn/{track}")
    def correct(
        id: str, track: Number, drawing: Drawing, seen: Number | None = None
    ) -> dict[str, Any]:
        video = studio.video(id)
        video.correct(track, drawing.frame, drawing.box, seen)
        return shown(video)

    @app.delete("/api/videos/{id}/drawn/{track}")
    def undraw(id: str, track: Number, seen: Number | None = None) -> dict[str, Any]:
        video = studio.video(id)
        video.undraw(track, seen)
        return shown(video)

    @app.post("/api/videos/{id}/templates")
    def add_template(id: str, point: Point) -> dict[str, Any]:
        video = studio.video(id)
        name = template_name(point.name)
        video.add_template(point.frame, point.x, point.y, name, point.keys)
        return shown(video)

    @app.put("/api/videos/{id}/templates/{name}")
    def switch_template(id: str, name: str, switch: Switch) -> dict[str, Any]:
        video = studio.video(id)
        video.switch_template(name, on=switch.on)
        return shown(video)

    @app.delete("/api/videos/{id}/templates/{name}")
    def remove_template(id: str, name: str) -> dict[str, Any]:
        video = studio.video(id)
        video.remove_template(name)
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

    @app.post("/api/videos/{id}/reload")
    def reload(id: str) -> dict[str, Any]:
        video = studio.video(id)
        video.reload()
        return shown(video)

    @app.post("/api/videos/{id}/acknowledge")
    def acknowledge(id: str) -> dict[str, Any]:
        video = studio.video(id)
        video.acknowledge()
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
    # A file's name may have line ends, quotes and letters that no header can hold as they are.
    headers = {"content-disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"}
    return Response(content, media_type="application/json", headers=headers)


def _state(video: VideoSession) -> str:
    if video.pictures.error is not None:
        return "failed"
    return "ready" if video.pictures.done else "reading"


def shown(video: VideoSession) -> dict[str, Any]:
    """A video as the page is told."""
    info, history = video.pictures.info, video.history
    # Before the search: beside a newer revision one of older decisions would be told as theirs.
    edits, revision = history.now()
    scan = video.scan()
    pictures, kinds = video.pictures, template_kinds()
    chosen = decisions.template_names(edits)
    held = video.held_back
    frames = info.frames or (round(info.duration * info.rate) if info.duration else None)
    return {
        "id": video.id,
        "name": video.name,
        "state": _state(video),
        "error": pictures.error,
        "width": info.width,
        "height": info.height,
        "rate": float(info.rate),
        "frames": pictures.frames,
        "frames_expected": pictures.frames if pictures.done else frames,
        "revision": revision * 100_000 + -(-scan.done // LENGTH),  # grows with each piece found
        "decisions": revision,
        "notice": video.notice,
        "held_back": None if held is None else held._asdict(),
        "changed_elsewhere": history.changed_elsewhere,
        "visible": sorted({k for track in edits.visible for k in edits.tracks_of_person(track)}),
        "only": sorted({k for track in edits.only for k in edits.tracks_of_person(track)}),
        "scan": {"state": scan.state, "done": scan.done, "error": scan.error},
        "settings": video.settings(edits),
        "undo": history.undo_name,
        "redo": history.redo_name,
        "drawn": [
            {
                "id": str(region.track),
                "first": min(region.boxes),
                "last": max(region.boxes),
                "lost": video.lost(region.track),
                "keys": list(region.keys),
            }
            for region in edits.drawn
        ],
        "templates": [
            {"id": name, "name": name, "on": name in chosen, "keys": kinds.get(name)}
            for name in sorted({*kinds, *chosen})
        ],
        "log": [vars(line) for line in edits.log],
    }


def template_name(typed: str) -> str:
    """A name as the library takes it, of one that a person typed; empty: it has no such letters."""
    plain = re.sub("[^a-z0-9_]+", "-", typed.lower()).strip("-_")
    return plain[:64]
