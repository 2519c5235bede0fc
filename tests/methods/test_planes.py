"""Whole frames hidden in the planes that files hold: the same picture as by way of RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from masquerade.anonymizer import Anonymizer, Planes, check_planes
from masquerade.errors import MasqueradeError
from masquerade.methods import METHODS, build
from masquerade.methods.blacken import Blacken
from masquerade.pipeline.stream import hides_in_planes

F64 = NDArray[np.float64]
MADE = [
    *(build(name) for name in METHODS if not METHODS[name].learned),
    *(
        build("blur", **given)
        for given in ({"kernel": 13, "short": 224}, {"kernel": 5, "short": 0})
    ),
    build("blur", kernel=9, sigma=3.0, short=24),
    *(build("pixelate", block=block, short=0) for block in (2, 5, 8)),
    *(build("downsample", factor=factor) for factor in (2, 3, 4)),
]
IN_PLANES = pytest.mark.parametrize(
    "method",
    [one for one in MADE if hides_in_planes(one)],
    ids=lambda one: f"{type(one).__name__}-{'-'.join(str(v) for v in arguments(one))}",
)
# BT.601: of red, green and blue in brightness, and how far colour differences reach
WEIGHTS, REACH = np.array([0.299, 0.587, 0.114]), (2 * (1 - 0.114), 2 * (1 - 0.299))


def arguments(method: Anonymizer) -> list[Any]:
    names = ("kernel", "block", "factor", "short")
    return [getattr(method, name) for name in names if name in vars(method)]


def scales(planes: Planes) -> tuple[float, float, float]:
    """Black, and the steps from black to white and from grey to the purest colour."""
    return (0, 255, 255) if planes.full_range else (16, 219, 224)


def to_rgb(planes: Planes) -> F64:
    """(H, W, 3) in [0, 1] where RGB holds the colours; each sample of colour is of four pixels."""
    black, light, colour = scales(planes)
    y = (planes.y.astype(float) - black) / light
    blue, red = (
        (plane.astype(float).repeat(2, 0).repeat(2, 1) - 128) / colour * reach
        for plane, reach in zip((planes.cb, planes.cr), REACH, strict=True)
    )
    b, r = y + blue, y + red
    return np.stack([r, (y - WEIGHTS[0] * r - WEIGHTS[2] * b) / WEIGHTS[1], b], -1)


def from_rgb(pixels: F64, like: Planes) -> list[F64]:
    """The planes of RGB, as fractions of levels."""
    black, light, colour = scales(like)
    y = pixels @ WEIGHTS
    h, w = y.shape
    halves = (
        ((pixels[..., channel] - y) / reach).reshape(h // 2, 2, w // 2, 2).mean((1, 3))
        for channel, reach in zip((2, 0), REACH, strict=True)
    )
    return [black + light * y, *(128 + colour * half for half in halves)]


def planes_of(h: int, w: int, *, seed: int, full_range: bool = False, colour: int = 20) -> Planes:
    """Noise of colours that RGB holds."""
    rng = np.random.default_rng(seed)
    y = rng.integers(90, 160, (h, w), np.uint8)
    cb, cr = (rng.integers(128 - colour, 129 + colour, (h // 2, w // 2), np.uint8) for _ in "br")
    return Planes(y, cb, cr, full_range)


@IN_PLANES
@settings(max_examples=25)
@given(
    h=st.integers(1, 60),
    w=st.integers(1, 60),
    seed=st.integers(0, 1000),
    full_range=st.booleans(),
)
def test_planes_are_those_of_the_hidden_rgb(
    method: Anonymizer, h: int, w: int, seed: int, full_range: bool
) -> None:
    given = planes_of(2 * h, 2 * w, seed=seed, full_range=full_range)
    found = check_planes(method.on_planes(given), given)
    clip = torch.from_numpy(to_rgb(given)).permute(2, 0, 1)[None, :, None]  # (1, 3, 1, H, W)
    assert clip.min() >= 0 and clip.max() <= 1
    hidden = method(clip).clip[0, :, 0].permute(1, 2, 0).numpy()
    for made, wanted in zip(found[:3], from_rgb(hidden, given), strict=True):
        assert np.abs(made - np.rint(wanted)).max() <= 1


@IN_PLANES
def test_nothing_is_left_of_detail_in_colour(method: Anonymizer) -> None:
    """Samples of colour that alternate leave no more than by way of RGB."""
    flat = Planes(np.full((96, 128), 120, np.uint8), *np.full((2, 48, 64), 128, np.uint8), False)
    fine = flat.cb.copy()
    fine[::2, ::2] += 24
    fine[1::2, 1::2] += 24
    fine[::2, 1::2] -= 24
    fine[1::2, ::2] -= 24
    detailed = flat._replace(cb=fine)
    made = method.on_planes(detailed)
    clip = torch.from_numpy(to_rgb(detailed)).permute(2, 0, 1)[None, :, None]
    hidden = method(clip).clip[0, :, 0].permute(1, 2, 0).numpy()
    left = np.ptp(from_rgb(hidden, detailed)[1])
    assert np.ptp(made.cb) <= left + 1


@IN_PLANES
def test_the_source_is_left_as_it_is(method: Anonymizer) -> None:
    given = planes_of(48, 64, seed=1)
    before = [plane.copy() for plane in given[:3]]
    for plane in given[:3]:
        plane.flags.writeable = False  # as a decoder's are
    made = check_planes(method.on_planes(given), given)
    for one in made[:3]:
        one[:] = 0
    assert all(np.array_equal(*pair) for pair in zip(before, given[:3], strict=True))


def test_black_is_the_black_of_the_range() -> None:
    for full_range, black in ((False, 16), (True, 0)):
        made = Blacken().on_planes(planes_of(4, 6, seed=1, full_range=full_range))
        assert (made.y == black).all() and (made.cb == 128).all() and (made.cr == 128).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda planes: None,
        lambda planes: planes,
        lambda planes: planes._replace(y=planes.y * 0, cb=planes.cb * 0),  # colour was forgotten
        lambda planes: Planes(planes.y * 0, planes.cb[:1] * 0, planes.cr * 0, False),
        lambda planes: Planes(planes.y * 0.5, planes.cb * 0, planes.cr * 0, False),
        lambda planes: Planes(planes.y * 0, planes.cb * 0, planes.cr * 0, True),
    ],
)
def test_what_is_no_hidden_frame_is_refused(wrong: Any) -> None:
    given = planes_of(4, 6, seed=1)
    with pytest.raises(MasqueradeError, match="nothing was written"):
        check_planes(wrong(given), given)


def test_only_a_method_without_state_has_such_a_way_of_its_own() -> None:
    class Stateful(Blacken):
        def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Any:
            return 1

    class Windowed(Blacken):
        framewise = False

    class Otherwise(Blacken):
        def on_bytes(self, frames: Any, *, mask: Any = None, state: Any = None) -> Any:
            return frames, None

    assert hides_in_planes(Blacken()) and not hides_in_planes(Otherwise())
    assert not hides_in_planes(Stateful()) and not hides_in_planes(Windowed())
    assert not hides_in_planes(build("selective"))
