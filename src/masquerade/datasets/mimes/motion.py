"""Actions as periodic motions that a frame of unknown time does not reveal.

A body has six channels, each a loop of poses with a phase. An action runs some of them; the others
stay at a uniform random phase. A phase that runs from a uniform start is uniform in every frame, so
that no pose reveals the action, and a walk played backwards is another action. Nor does the place
in the picture reveal it in a frame that is drawn at random. In one whose time is known it does:
see `walk_path`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from masquerade.arrays import F64

PERIODS = {"gait": 11.0, "kick": 10.0, "squat": 12.0, "bow": 13.0, "wave": 14.0, "punch": 10.0}
"""Frames of one loop of each channel at tempo 1."""

SPEED = 0.024  # of the frame's side that a walker moves in one frame at tempo and stride 1
REACH = 0.27  # how far from the middle a person's centre may come, in sides
TRAVEL = 0.36  # the longest way in one clip, in sides, so that long clips stay in the picture


@dataclass(frozen=True, kw_only=True)
class Action:
    """The channels that run, and the direction of travel."""

    runs: Mapping[str, int]  # channel to 1, or -1 for backwards
    travel: int = 0  # 1 forwards, -1 backwards, 0 on the spot


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
    """The way in which one person moves in all actions."""

    tempo: float = 1.0  # a loop takes 1 / tempo of its period
    stride: float = 1.0  # amplitude of the joints
    lag: float = 0.0  # of knees and elbows, in loops
    asymmetry: float = 1.0  # amplitude of the far side relative to the near side
    skew: float = 0.0  # in (-1, 1): quick out and slow back, or the other way
    swing: float = 0.3  # of the arms with the legs, in radians


def draw_gait(rng: np.random.Generator) -> Gait:
    """A random gait."""
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
    """A rigid limb over time: its joint, and its forward angle from straight down."""

    origin: F64  # (T, 2), x and y
    angle: F64  # (T,), radians


@dataclass(frozen=True, kw_only=True)
class Staging:
    """Random variables of one clip that are independent of person and action."""

    facing: int  # 1 to the right, -1 to the left
    phases: Mapping[str, float]  # start of each channel, in loops
    middle: float  # x of the path's middle, from -1 to 1 of the range that the frame allows
    pause: float  # place on a walker's path of people who stay, from 0 to 1


def draw_staging(rng: np.random.Generator) -> Staging:
    """A uniform draw."""
    return Staging(
        facing=int(rng.choice((-1, 1))),
        phases={name: float(rng.random()) for name in PERIODS},
        middle=float(rng.uniform(-1, 1)),
        pause=float(rng.random()),
    )


def walk_path(action: Action, staging: Staging, gait: Gait, frames: int) -> F64:
    """x of the body over time, (T,), in sides of the frame.

    People who do not walk stand at a uniform place of a walker's path, so that the place in a frame
    of unknown time does not reveal the action either. In the first frame it does, as in the last:
    who walks stands at the back of the path then, and who retreats at its front.
    """
    speed = SPEED * gait.tempo * gait.stride
    length = min(speed * (frames - 1), TRAVEL)
    along = np.linspace(-0.5, 0.5, frames) if frames > 1 else np.zeros(1)
    if not action.travel:
        along = np.full(frames, staging.pause - 0.5)
    middle = 0.5 + staging.middle * (REACH - length / 2)
    return np.asarray(middle + staging.facing * (action.travel or 1) * along * length)


def channel_phases(action: Action, staging: Staging, gait: Gait, frames: int) -> dict[str, F64]:
    """The phase of each channel over time, (T,), in loops."""
    time: F64 = np.arange(frames, dtype=np.float64) * gait.tempo
    return {
        name: np.asarray(start + time * (action.runs.get(name, 0) / PERIODS[name]))
        for name, start in staging.phases.items()
    }


def place_limbs(
    phases: Mapping[str, F64], gait: Gait, build: Build, *, facing: int, x: F64, ground: float
) -> dict[str, Limb]:
    """The limbs in each frame, in the unit of `x` (of the hips), `ground` and `build.height`."""
    turns = {name: _skewed(phase, gait.skew) for name, phase in phases.items()}
    names = ("torso", "thigh", "shin", "upper_arm", "forearm", "waist", "chest")
    body: dict[str, float] = {name: getattr(build, name) * build.height for name in names}
    squat = _bump(turns["squat"], 1.6)
    bow = _bump(turns["bow"], 2.2) * (1 - 0.4 * squat)  # a squat limits the bow
    lean = -gait.stride * (0.9 * bow + 0.35 * squat)
    legs, arms = _legs(turns, squat, gait), _arms(turns, gait, lean)
    depth = [
        body["thigh"] * np.cos(leg["thigh"]) + body["shin"] * np.cos(leg["shin"])
        for leg in legs.values()
    ]
    sole = 1.2 * build.limb * build.height
    torso = Limb(np.stack((x, ground - sole - np.maximum(*depth)), -1), lean)
    out = {"torso": torso}
    for side, sign in (("near", -1), ("far", 1)):
        hip = _place(torso, facing, 0.0, sign * 0.4 * body["waist"])
        out |= _chain(side, hip, legs[side], body, facing)
    out["head"] = Limb(_place(torso, facing, -body["torso"], 0.0), 0.7 * lean)
    top = -body["torso"] + 1.1 * build.limb * build.height
    for side, sign in (("near", -1), ("far", 1)):
        shoulder = _place(torso, facing, top, sign * 0.55 * body["chest"])
        out |= _chain(side, shoulder, arms[side], body, facing)
    return out


def _legs(turns: Mapping[str, F64], squat: F64, gait: Gait) -> dict[str, dict[str, F64]]:
    """The angles of both legs; the near one kicks."""
    out = {}
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
        shin = thigh - knee
        out[side] = {"thigh": thigh, "shin": shin, "foot": np.pi / 2 + 0.7 * shin}
    return out


def _arms(turns: Mapping[str, F64], gait: Gait, lean: F64) -> dict[str, dict[str, F64]]:
    """The angles of both arms: the near one waves, the far one punches; both swing."""
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
    near_hand, far_hand = near + near_bend + hang, far - 0.5 * guard + far_bend
    return {
        "near": {"upper_arm": near + hang, "forearm": near_hand, "hand": near_hand},
        "far": {"upper_arm": far - 0.5 * guard, "forearm": far_hand, "hand": far_hand},
    }


def _chain(
    side: str, start: F64, angles: Mapping[str, F64], body: Mapping[str, float], facing: int
) -> dict[str, Limb]:
    """The limbs of an arm or a leg, each starting at the end of the one before."""
    out = {}
    for name, angle in angles.items():
        out[f"{side}_{name}"] = limb = Limb(start, angle)
        start = _place(limb, facing, body.get(name, 0.0), 0.0)
    return out


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
    """0 at whole turns, 1 halfway; the sharper, the longer it stays near 0."""
    return np.asarray((0.5 - 0.5 * np.cos(2 * np.pi * turns)) ** sharpness)
