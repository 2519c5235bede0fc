"""The bodies of the page's requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from masquerade.pipeline.levels import LevelName

Number = Annotated[int, Field(ge=0, lt=2**31)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
BoxEdges = tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class Asked(BaseModel):
    """The body of a request; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


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
    choice: Literal["hidden", "visible", "only"] | None = None
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
    name: str = Field("", max_length=64)  # empty: the next free one
    keys: str = Field("colour-hog", max_length=64)


class Switch(Asked):
    on: bool


class Side(Asked):
    """One of two settings: a level, a method, or neither for what was decided."""

    level: LevelName | None = None
    method: str | None = Field(None, max_length=64)


class NewComparison(Asked):
    first: Side
    second: Side
    allow_empty: bool = False
    allow_gaps: bool = False
    looked_at: list[str] = []  # both failed runs whose frames were looked at


class NewJob(Asked):
    kind: Literal["anonymize", "attack"]
    allow_empty: bool = False
    allow_gaps: bool = False
    looked_at: list[str] = []  # the failed run whose frames were looked at before this is allowed
    job: str | None = None
