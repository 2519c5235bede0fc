"""What the page asks of jobs, their results, and reports of benchmarks."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from masquerade.errors import UsageError, VideoError
from masquerade.studio.guard import REPORT_POLICY, SCRIPTED_POLICY
from masquerade.studio.requests import NewComparison, NewJob, Number
from masquerade.studio.studio import Studio
from masquerade.studio.video_routes import jpeg


def add_job_routes(app: FastAPI, studio: Studio) -> None:
    """Add what the page asks of jobs and reports."""

    @app.post("/api/videos/{id}/jobs", status_code=201)
    def add(id: str, asked: NewJob, seen: Number | None = None) -> dict[str, Any]:
        if asked.kind == "attack":
            return studio.attack(id, asked.job or "").shown()
        empty, gaps = asked.allow_empty, asked.allow_gaps
        looked = asked.looked_at
        return studio.anonymize(
            id, allow_empty=empty, allow_gaps=gaps, seen=seen, looked_at=looked
        ).shown()

    @app.post("/api/videos/{id}/comparisons", status_code=201)
    def compare(id: str, asked: NewComparison, seen: Number | None = None) -> list[dict[str, Any]]:
        sides = [side.model_dump(exclude_none=True) for side in (asked.first, asked.second)]
        if any(len(side) > 1 for side in sides):
            raise UsageError("a side is a level or a method, and not both.")
        empty, gaps = asked.allow_empty, asked.allow_gaps
        looked = asked.looked_at
        added = studio.compare(
            id, sides, allow_empty=empty, allow_gaps=gaps, seen=seen, looked_at=looked
        )
        return [job.shown() for job in added]

    @app.get("/api/jobs/{id}/pictures")
    def pictures(id: str) -> dict[str, Any]:
        stills = studio.pictures(id)
        return {"frames": stills.frames, "done": stills.done, "error": stills.error}

    @app.get("/api/jobs/{id}/frames/{frame}.jpg", response_class=Response)
    def frame_picture(id: str, frame: Number) -> Response:
        return jpeg(studio.picture(id, frame))

    @app.get("/api/jobs")
    def jobs() -> list[dict[str, Any]]:
        return [job.shown() for job in studio.jobs.all()]

    @app.delete("/api/jobs/{id}", status_code=204)
    def remove(id: str, cancel: bool = False) -> None:
        if cancel:  # and nothing else: one that has finished meanwhile stays
            studio.jobs.cancel(id)
        else:
            studio.remove(id)

    @app.get("/api/jobs/{id}/result", response_class=FileResponse)
    def result(id: str) -> FileResponse:
        path = studio.result(id)
        return FileResponse(path, filename=studio.jobs.get(id).result)

    @app.get("/api/jobs/{id}/receipt", response_class=FileResponse)
    def receipt(id: str) -> FileResponse:
        path = studio.receipt(id)
        return FileResponse(path, filename=path.name)

    @app.get("/api/jobs/{id}/page", response_class=FileResponse)
    def page(id: str) -> FileResponse:
        headers = {"content-security-policy": REPORT_POLICY}
        path = studio.result(id)
        if studio.jobs.get(id).kind != "attack":
            raise VideoError("this job made no page.")
        return FileResponse(path, media_type="text/html", headers=headers)

    # Its place is in the path, so that what it links to is found beside it.
    @app.get(studio.reports + "{place:path}", response_class=FileResponse, include_in_schema=False)
    def report(place: str) -> FileResponse:
        path = studio.report(place)
        policy = SCRIPTED_POLICY if path.suffix == ".html" else REPORT_POLICY
        return FileResponse(path, headers={"content-security-policy": policy})
