"""The application of the studio: the page, what it is told first, and how errors are said.

What goes wrong is said as {"error": "a sentence"}.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from masquerade.errors import MasqueradeError, MissingError
from masquerade.methods import METHODS, build
from masquerade.pipeline.folder_files import VIDEOS
from masquerade.pipeline.levels import LEVELS
from masquerade.pipeline.track_methods import hides_alone
from masquerade.regions import REGIONS
from masquerade.regions.face_detectors import centerface_file
from masquerade.regions.key_extractors import EXTRACTORS
from masquerade.regions.model_files import NEEDED, model_file
from masquerade.studio.camera_routes import add_camera_routes
from masquerade.studio.guard import TooLargeError
from masquerade.studio.history import ChangedError
from masquerade.studio.job_routes import add_job_routes
from masquerade.studio.studio import ClosedError, Studio
from masquerade.studio.video_routes import add_video_routes

PAGE = Path(__file__).with_name("static")


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
    add_video_routes(app, studio)
    add_job_routes(app, studio)
    add_camera_routes(app)
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
        status = 404 if isinstance(error, ClosedError) else status
        return JSONResponse({"error": _sentence(error)}, status)

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
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text  # else the name of a file


def _add_about(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/about")
    def about() -> dict[str, Any]:
        lacking = missing_models()
        return {
            "version": version("masquerade"),
            "ready": not lacking,
            "missing": lacking,
            "root": studio.root is not None,
            "reports": studio.reports,  # an address that ends with the place of one
            "videos": sorted(VIDEOS),  # the endings of their names
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
                    "alone": hides_alone(build(name)),  # whether it may hide one person of some
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
            "keys": {
                "first": studio.keys.first,
                "kinds": [
                    {"name": kind, "missing": studio.keys.missing(kind)} for kind in EXTRACTORS
                ],
            },
        }

    @app.get("/api/root")
    def browse(path: str = "") -> Any:
        if studio.root is None:
            return JSONResponse({"error": "the studio was started without --root."}, 404)
        return studio.browse(path)


def missing_models() -> list[str]:
    """What the levels need and this machine lacks, with what to do, in sentences."""
    missing = []
    looks: list[Callable[[], Path]] = [centerface_file]
    looks += [partial(model_file, name) for name in NEEDED]
    for look in looks:
        try:
            look()
        except MissingError as error:
            missing.append(_sentence(error))
    return missing


def method_arguments(name: str) -> list[dict[str, Any]]:
    """The arguments of a method that a form can ask for."""
    method = METHODS[name]
    hints = get_type_hints(method.__init__, include_extras=True)
    arguments = []
    for key, parameter in inspect.signature(method).parameters.items():
        kind, choices = _form_field(hints.get(key))
        if kind is not None:
            about = {"name": key, "kind": kind, "default": parameter.default}
            arguments.append({**about, **({"choices": choices} if choices else {})})
    return arguments


def _form_field(hint: Any) -> tuple[str | None, list[Any]]:
    """The kind of field for a type, and its choices; None: no form can ask for it."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return "choice", list(get_args(hint))
    options = [option for option in get_args(hint) if option is not NoneType]
    if options and NoneType in get_args(hint) and len(options) == 1:
        return _form_field(options[0])
    kinds = {bool: "flag", int: "integer", float: "number", str: "text"}
    return kinds.get(hint), []
