"""Actions as motion programs: which joints move is the action, what pose they pass is not.

A body has six channels, each a loop of poses with a phase. An action lets some of them run and
leaves the others standing wherever a uniform draw put them. A phase that runs from a uniform start
is uniform in every frame too, so that single frames of all actions have one and the same
distribution: no frame tells the action, and a walk played backwards is another action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

PERIODS = {"gait": 11.0, "kick": 10.0, "squat": 12.0, "bow": 13.0, "wave": 14.0, "punch": 10.0}
"""Frames that one loop of each channel takes at tempo 1."""

SPEED = 0.024  # of the frame's side that a walker moves in one frame at tempo and stride 1
REACH = 0.27  # how far from the middle a person's centre may come, in sides
TRAVEL = 0.36  # the longest way in one clip, in sides, so that long clips stay in the picture


@dataclass(frozen=True, kw_only=True)
class Action:
    """A motion program.

    Args:
        runs: channel to direction: 1 as recorded, -1 backwards.
        travel: 1 forwards, -1 backwards, 0 on the spot.
    """

    runs: Mapping[str, int]
    travel: int = 0


ACTIONS: dict[str, Action] = {
    "walk": Action(runs={"gait": 1}, travel=1),
    "retreat": Action(runs={"gait": -1}, travel=-1),
    "march": Action(runs={"gait": 1}),
    "kick": Action(runs={"kick": 1}),
    "squat": Action(runs={"squat": 1}),
    "bow": Action(runs={"bow": 1}),
    "wave": Action(runs={"wave": 1}),
    "punch": Action(runs={"punch": 1}),
}


@dataclass(frozen=True, kw_only=True)
class Gait:
    """How one person moves, whatever the action: identity in motion.

    Args:
        tempo: loops take 1 / tempo of their usual time.
        stride: how far joints swing, 1 is usual.
        lag: how far knees and elbows trail behind, in loops.
        asymmetry: the far side's swing beside the near side's, 1 is even.
        skew: in (-1, 1), quick out and slow back or the other way.
        swing: how far arms swing with the legs, in radians.
    """

    tempo: float = 1.0
    stride: float = 1.0
    lag: float = 0.0
    asymmetry: float = 1.0
    skew: float = 0.0
    swing: float = 0.3


def draw_gait(rng: np.random.Generator) -> Gait:
    """One person's signature."""
    return Gait(
        tempo=float(np.exp(rng.uniform(-0.25, 0.25))),
        stride=float(rng.uniform(0.85, 1.25)),
        lag=float(rng.uniform(-0.12, 0.12)),
        asymmetry=float(rng.uniform(0.7, 1.2)),
        skew=float(rng.uniform(-0.4, 0.4)),
        swing=float(rng.uniform(0.05, 0.6)),
    )


@dataclass(frozen=True, kw_only=True)
class Build:
    """Lengths and half widths of a body, as shares of its standing height."""

    height: float
    torso: float = 0.28
    thigh: float = 0.19
    shin: float = 0.18
    upper_arm: float = 0.15
    forearm: float = 0.15
    head: float = 0.15
    waist: float = 0.075
    chest: float = 0.09
    limb: float = 0.042


class Limb(NamedTuple):
    """A rigid piece over time: where it starts, and its angle from straight down, forwards."""

    origin: F64  # (T, 2), x and y
    angle: F64  # (T,), radians


@dataclass(frozen=True, kw_only=True)
class Staging:
    """What one clip draws besides the person: none of it depends on the action.

    Args:
        facing: 1 to the right, -1 to the left.
        phases: where each channel starts, in loops.
        middle: x of the way's middle, from -1 to 1 of what the frame allows.
        pause: where on a walker's way the others stand, from 0 to 1.
    """

    facing: int
    phases: Mapping[str, float]
    middle: float
    pause: float


def draw_staging(rng: np.random.Generator) -> Staging:
    """Uniform in everything."""
    return Staging(
        facing=int(rng.choice((-1, 1))),
        phases={name: float(rng.random()) for name in PERIODS},
        middle=float(rng.uniform(-1, 1)),
        pause=float(rng.random()),
    )


def way(action: Action, staging: Staging, gait: Gait, frames: int) -> F64:
    """x of the body over time, (T,), in sides of the frame.

    Who does not walk stands at a uniform place of the way that a walker would have taken, so that
    the place in one frame tells nothing either.
    """
    speed = SPEED * gait.tempo * gait.stride
    length = min(speed * (frames - 1), TRAVEL)
    along = np.linspace(-0.5, 0.5, frames) if frames > 1 else np.zeros(1)
    if not action.travel:
        along = np.full(frames, staging.pause - 0.5)
    middle = 0.5 + staging.middle * (REACH - length / 2)
    return np.asarray(middle + staging.facing * (action.travel or 1) * along * length)


def phases_of(action: Action, staging: Staging, gait: Gait, frames: int) -> dict[str, F64]:
    """Each channel's phase over time, (T,), in loops."""
    time: F64 = np.arange(frames, dtype=np.float64) * gait.tempo
    return {
        name: np.asarray(start + time * (action.runs.get(name, 0) / PERIODS[name]))
        for name, start in staging.phases.items()
    }


def limbs(
    phases: Mapping[str, F64], gait: Gait, build: Build, *, facing: int, x: F64, ground: float
) -> dict[str, Limb]:
    """The body at each frame, in the unit of `x`, `ground` and `build.height`.

    Args:
        phases: of each channel, (T,) in loops.
        gait: the person's signature.
        build: the person's lengths.
        facing: 1 to the right, -1 to the left.
        x: (T,) of the hips.
        ground: y on which the lower foot stands.
    """
    turns = {name: _skewed(phase, gait.skew) for name, phase in phases.items()}
    angles = _legs(turns, gait)
    body = {name: length * build.height for name, length in _lengths(build).items()}
    depth = [
        body["thigh"] * np.cos(angles[f"{side}_thigh"])
        + body["shin"] * np.cos(angles[f"{side}_shin"])
        for side in ("near", "far")
    ]
    sole = 1.2 * build.limb * build.height
    hips = np.stack((x, ground - sole - np.maximum(*depth)), -1)  # (T, 2)
    squat = _bump(turns["squat"], 1.6)
    bow = _bump(turns["bow"], 2.2) * (1 - 0.4 * squat)  # nobody folds up altogether
    lean = -gait.stride * (0.9 * bow + 0.35 * squat)
    out = {"torso": Limb(hips, lean)}
    for side, sign in (("near", -1), ("far", 1)):
        hip = _place(out["torso"], facing, 0.0, sign * 0.4 * body["waist"])
        _chain(out, side, hip, angles, body, facing)
    neck = _place(out["torso"], facing, -body["torso"], 0.0)
    out["head"] = Limb(neck, 0.7 * lean)
    angles = _arms(turns, gait, lean)
    for side, sign in (("near", -1), ("far", 1)):
        top = -body["torso"] + 1.1 * build.limb * build.height
        shoulder = _place(out["torso"], facing, top, sign * 0.55 * body["chest"])
        _chain(out, side, shoulder, angles, body, facing)
    return out


def _legs(turns: Mapping[str, F64], gait: Gait) -> dict[str, F64]:
    out: dict[str, F64] = {}
    squat = _bump(turns["squat"], 1.6)
    kick = _bump(turns["kick"], 1.5) * (1 - 0.3 * squat)
    for side, half, share in (("near", 0.0, 1.0), ("far", 0.5, gait.asymmetry)):
        turn = 2 * np.pi * (turns["gait"] + half)
        swing = gait.stride * share
        thigh = 0.42 * swing * np.sin(turn) + 0.06
        knee = 0.06 + 0.68 * swing * np.maximum(0, np.cos(turn - 2 * np.pi * gait.lag))
        thigh = thigh + gait.stride * 1.05 * squat
        knee = knee + gait.stride * 1.75 * squat
        if side == "near":
            thigh = thigh + gait.stride * 1.5 * kick
            knee = knee + 1.2 * kick * (1 - kick)
        out |= {f"{side}_thigh": thigh, f"{side}_shin": thigh - knee}
        out[f"{side}_foot"] = np.pi / 2 + 0.7 * (thigh - knee)
    return out


def _arms(turns: Mapping[str, F64], gait: Gait, lean: F64) -> dict[str, F64]:
    """Waving is the near arm's, punching the far one's; both swing against their legs."""
    turn = 2 * np.pi * turns["gait"]
    lift = _bump(turns["wave"])
    waggle = np.sin(4 * np.pi * (turns["wave"] - gait.lag))
    near = -gait.swing * np.sin(turn) + 2.45 * lift
    near_bend = 0.25 + lift * (0.25 + 0.7 * gait.stride * waggle)
    push = _bump(turns["punch"])
    guard = 4 * push * (1 - push)
    far = gait.swing * gait.asymmetry * np.sin(turn) + 1.65 * push
    far_bend = 0.25 * (1 - push) + 1.9 * gait.stride * guard
    hang = 0.4 * lean  # arms hang down from a bowed back, though not quite
    out = {"near_upper_arm": near + hang, "near_forearm": near + near_bend + hang}
    return out | {"far_upper_arm": far - 0.5 * guard, "far_forearm": far - 0.5 * guard + far_bend}


def _lengths(build: Build) -> dict[str, float]:
    names = ("torso", "thigh", "shin", "upper_arm", "forearm", "waist", "chest")
    return {name: float(getattr(build, name)) for name in names}


def _chain(
    out: dict[str, Limb],
    side: str,
    start: F64,
    angles: Mapping[str, F64],
    body: Mapping[str, float],
    facing: int,
) -> None:
    """Hang the pieces of an arm or a leg one on another, in the order of `angles`."""
    for name, angle in angles.items():
        if not name.startswith(side):
            continue
        limb = Limb(start, angle)
        out[name] = limb
        start = _place(limb, facing, body.get(name.removeprefix(f"{side}_"), 0.0), 0.0)
    if f"{side}_forearm" in angles:
        out[f"{side}_hand"] = Limb(start, angles[f"{side}_forearm"])


def axes(angle: F64, facing: int) -> tuple[F64, F64]:
    """Unit vectors along a limb and across it (forwards), each of the angle's shape and 2."""
    sin, cos = np.sin(angle), np.cos(angle)
    return np.stack((facing * sin, cos), -1), np.stack((facing * cos, -sin), -1)


def _place(limb: Limb, facing: int, along: float, across: float) -> F64:
    e, n = axes(limb.angle, facing)
    return np.asarray(limb.origin + along * e + across * n)


def _skewed(phase: F64, skew: float) -> F64:
    return np.asarray(phase + skew * np.sin(2 * np.pi * phase) / (2 * np.pi))


def _bump(turns: F64, sharpness: float = 1.0) -> F64:
    """0 at whole turns, 1 halfway; a sharper one rests longer."""
    return np.asarray((0.5 - 0.5 * np.cos(2 * np.pi * turns)) ** sharpness)
