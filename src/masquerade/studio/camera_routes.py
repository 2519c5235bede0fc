"""Routes of the camera: a session is begun, gives a hidden frame for each that comes, and ends."""

from __future__ import annotations

import secrets
import threading
from typing import Annotated

import numpy as np
from fastapi import Body, FastAPI, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from masquerade.errors import UsageError
from masquerade.pipeline.levels import LevelName
from masquerade.studio.camera import Camera
from masquerade.studio.video_routes import jpeg


class CameraRequest(BaseModel):
    """What is hidden."""

    level: LevelName = "person"
    allow_empty: bool = False
    max_latency: Annotated[float, Field(gt=0, le=60)] = 2.0  # seconds


class CameraStarted(BaseModel):
    """A session that takes frames."""

    id: str


class Cameras:
    """The one session that there may be; a new one ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._id = ""
        self._camera: Camera | None = None

    def start(self, wanted: CameraRequest) -> str:
        """Begin a session, whose number is returned."""
        camera = Camera(
            level=wanted.level, allow_empty=wanted.allow_empty, max_latency=wanted.max_latency
        )
        with self._lock:
            before, self._camera, self._id = self._camera, camera, secrets.token_hex(8)
            number = self._id
        if before is not None:
            before.close()
        self._watch(number, camera)
        return number

    def of(self, number: str) -> Camera:
        """The session of a number.

        Raises:
            UsageError: it has ended.
        """
        with self._lock:
            if self._camera is None or number != self._id:
                raise UsageError("the camera was stopped, or is used in another tab.")
            return self._camera

    def end(self, number: str) -> None:
        """End a session, if it is there."""
        with self._lock:
            if number != self._id:
                return
            camera, self._camera, self._id = self._camera, None, ""
        if camera is not None:
            camera.close()

    def _watch(self, number: str, camera: Camera) -> None:
        """End a session whose page has gone."""

        def look() -> None:
            if camera.idle:
                self.end(number)
            elif self._id == number:
                again()

        def again() -> None:
            timer = threading.Timer(5, look)
            timer.daemon = True
            timer.start()

        again()


def add_camera_routes(app: FastAPI) -> None:
    """Add what the page's camera asks for."""
    cameras = Cameras()

    @app.post("/api/camera")
    def start(wanted: CameraRequest) -> CameraStarted:
        return CameraStarted(id=cameras.start(wanted))

    @app.post("/api/camera/{number}/frames", response_class=Response)
    async def frame(number: str, data: Annotated[bytes, Body(media_type="image/jpeg")]) -> Response:
        live_frame = await run_in_threadpool(cameras.of(number).offer, data)
        if live_frame is None:
            return Response(status_code=204)
        picture = await run_in_threadpool(jpeg, np.asarray(live_frame.pixels, np.uint8))
        picture.headers["x-frame"] = str(live_frame.frame.index)
        picture.headers["x-latency"] = f"{live_frame.latency:.3f}"
        return picture

    @app.delete("/api/camera/{number}", status_code=204)
    def end(number: str) -> None:
        cameras.end(number)
