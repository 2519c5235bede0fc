"""What a method is given of a file's pixels, and what is made of its answer, by the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, check_anonymized, check_pixels
from masquerade.errors import MasqueradeError, MissingError


class Seen(Anonymizer):
    """Keeps what it is given, and answers with what `make` makes of the clip."""

    def __init__(self, make: Any = lambda clip: clip) -> None:
        super().__init__()
        self.make, self.given = make, {}

    def forward(self, clip: Tensor, *, mask: Any = None, state: Any = None) -> Anonymized:
        self.given = {"clip": clip, "mask": mask, "state": state, "grad": torch.is_grad_enabled()}
        return Anonymized(self.make(clip), state=("next", state))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_become_numbers_and_pixels_again(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    frames = np.random.default_rng(0).integers(0, top, (2, 4, 5, 3), dtype, endpoint=True)
    mask = np.random.default_rng(1).integers(0, 255, (2, 4, 5), np.uint8, endpoint=True)
    method = Seen()
    out, state = method.on_pixels(frames, mask=mask, state=7)
    assert out.dtype == dtype and np.array_equal(out, frames) and state == ("next", 7)
    clip, given = method.given["clip"], method.given
    assert clip.shape == (1, 3, 2, 4, 5) and clip.dtype == torch.float32
    assert torch.allclose(
        clip[0].permute(1, 2, 3, 0) * top, torch.tensor(frames.astype(float)).float()
    )
    assert given["mask"].shape == (1, 1, 2, 4, 5)
    assert torch.allclose(given["mask"][0, 0] * 255, torch.tensor(mask).float())
    assert (given["state"], given["grad"]) == (7, False)
    method.on_pixels(frames)
    assert method.given["mask"] is None and method.given["state"] is None


def test_what_is_a_little_out_of_range_is_rounded_and_no_more() -> None:
    frames = np.array([[[[0, 255, 10]]]], np.uint8)
    for make in (lambda clip: clip + 9e-4, lambda clip: clip - 9e-4):
        assert np.array_equal(Seen(make).on_pixels(frames)[0], frames)
    assert np.array_equal(
        Seen(lambda clip: clip * 0 + 0.6 / 255).on_pixels(frames)[0], frames * 0 + 1
    )
    assert np.array_equal(Seen(lambda clip: clip * 0 + 0.4 / 255).on_pixels(frames)[0], frames * 0)
    for make in (lambda clip: clip + 2e-3, lambda clip: clip - 2e-3):
        with pytest.raises(MasqueradeError):
            Seen(make).on_pixels(frames)


def test_uint8_takes_the_fast_path_and_nothing_else_does() -> None:
    class Fast(Seen):
        def on_bytes(self, frames: Any, *, mask: Any = None, state: Any = None) -> Any:
            return frames[:, ::-1], (mask, state)

    frames, mask = np.arange(24, dtype=np.uint8).reshape(1, 4, 2, 3), np.ones((1, 4, 2), np.uint8)
    out, (given, state) = Fast().on_pixels(frames, mask=mask, state=5)
    assert np.array_equal(out, frames[:, ::-1]) and given is mask and state == 5
    assert np.array_equal(Fast().on_pixels(frames.astype(np.uint16))[0], frames)


def test_where_it_hides_is_checked_by_shape_and_range() -> None:
    clip, hidden = torch.rand(2, 3, 4, 5, 6), torch.rand(2, 1, 4, 5, 6)
    good = Anonymized(clip, hidden, 3)
    assert check_anonymized(good, clip) is good
    assert check_anonymized(Anonymized(clip), clip).hidden is None
    wrong = (hidden[:1], hidden[:, :, 1:], hidden.expand(-1, 3, -1, -1, -1), hidden + 1, hidden - 1)
    for each in wrong:
        with pytest.raises(MasqueradeError, match="where it hides"):
            check_anonymized(Anonymized(clip, each), clip)
    for out in (clip, (clip, None, None), Anonymized(clip[1:]), Anonymized(clip.numpy())):  # type: ignore[arg-type]
        with pytest.raises(MasqueradeError, match="no clip"):
            check_anonymized(out, clip)


def test_frames_of_a_fast_path_are_checked() -> None:
    frames = np.zeros((2, 4, 5, 3), np.uint8)
    good = (frames, "state")
    assert check_pixels(good, frames) is good
    for found in (
        (frames,),
        (frames, 1, 2),
        [frames, 1],
        (frames[:1], 1),
        (frames + 0.0, 1),
        (0, 1),
    ):
        with pytest.raises(MasqueradeError, match="no frames"):
            check_pixels(found, frames)


def test_a_method_without_more_to_say_says_nothing() -> None:
    method, clip = Seen(), torch.rand(1, 3, 2, 4, 4, requires_grad=True)
    out = method.training_output(clip)
    assert out.clip is clip and (dict(out.losses), dict(out.metrics)) == ({}, {})
    assert out.keep is None and out.class_token is None and method.expected_metrics() == {}
    assert method.init_from_image_weights("x") is None and method.init_state(seed=1) is None
    assert method.size(3, 5) == (3, 5) and method.window == 0 and not method.full_frame
    assert not method.needs_source_digest and not method.regions_only and not method.learned
    method.check_trained()

    class Learned(Seen):
        learned = True

    with pytest.raises(MissingError):
        Learned().check_trained()
    trained = Learned()
    trained.trained = True
    trained.check_trained()
