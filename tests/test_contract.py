"""The contract of `Anonymizer`, tested for every method in METHODS."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from standing_people import passers_by

import masquerade
from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments, read_provenance
from masquerade.errors import MissingError, UsageError
from masquerade.methods import METHODS, PRESETS
from masquerade.pipeline.stream import anonymize

METHOD = pytest.mark.parametrize("name", METHODS)
FIXED = pytest.mark.parametrize("name", [n for n, kind in METHODS.items() if not kind.learned])
SHALLOW = {"stprivacy": {"depth": 4, "places": (1, 2, 3)}}  # fewer blocks: quicker
Made = Callable[[str], Anonymizer]
sizes = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))


def clip_of(t: int, h: int, w: int, *, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, t, h, w, generator=torch.Generator().manual_seed(t * h + w))


def patch(t: int, h: int, w: int) -> torch.Tensor:
    """A region over the middle of every frame, with a soft rim."""
    mask = torch.zeros(1, 1, t, h, w)
    mask[..., h // 4 : -h // 4, w // 4 : -w // 4] = 1
    mask[..., h // 4, :] *= 0.3
    return mask


def people_of(method: Anonymizer, t: int, h: int, w: int) -> Any:
    """Whom a method that draws people is given of a clip; None: it draws nobody."""
    return passers_by(t, h, w) if method.needs_people else None


def whom(people: Any, at: slice = slice(None)) -> dict[str, Any]:
    """The argument of `on_pixels` for people in some frames; none where nobody is drawn."""
    return {} if people is None else {"people": people[at]}


def whom_in_clip(people: Any, at: slice = slice(None)) -> dict[str, Any]:
    """The same of `forward`, which is given the people of each clip."""
    return {} if people is None else {"people": [people[at]]}


@METHOD
@settings(max_examples=15)
@given(size=sizes, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_shape_range_and_type_stay(
    made: Made, name: str, size: tuple[int, int, int], dtype: torch.dtype
) -> None:
    method, clip = made(name), clip_of(*size, batch=2).to(dtype)
    out = method(clip, state=method.init_state(seed=1))
    assert out.clip.shape == clip.shape
    assert out.clip.dtype == clip.dtype
    assert out.clip.min() >= 0 and out.clip.max() <= 1


@METHOD
def test_nothing_changes_where_nothing_is_hidden(made: Made, name: str) -> None:
    method, clip = made(name), clip_of(3, 48, 64)
    mask = patch(3, 48, 64)
    out = method(clip, mask=mask, state=method.init_state(seed=1)).clip
    if method.full_frame:
        assert torch.equal(out, method(clip, state=method.init_state(seed=1)).clip)
        return
    outside = (mask == 0).expand_as(clip)
    left = clip
    if method.regions_only:  # what is left is not the scene, so that of another is the same
        left = method(1 - clip, mask=mask, state=method.init_state(seed=1)).clip
    assert torch.equal(out[outside], left[outside])
    assert not torch.equal(out, clip)


@FIXED
def test_what_is_fully_hidden_does_not_depend_on_its_own_detail(made: Made, name: str) -> None:
    """Noise of the finest grain inside the region leaves no trace beyond its mean."""
    method = made(name)
    grain = torch.zeros(1, 3, 1, 64, 64)
    grain[..., ::2, ::2] = grain[..., 1::2, 1::2] = 0.1
    flat = torch.full_like(grain, 0.05)
    outs = [method(0.4 + x, state=method.init_state(seed=1)).clip for x in (grain, flat)]
    assert (outs[0] - outs[1]).abs().max() < 0.02


@METHOD
def test_same_seed_same_pixels(made: Made, name: str) -> None:
    clip, method = clip_of(4, 40, 56), made(name)
    if method.needs_people:  # whom nothing finds in a clip
        who = whom_in_clip(passers_by(4, 40, 56))
        a, b = (method(clip, **who, state=method.init_state(seed=3)).clip for _ in range(2))
    else:
        a, b = (anonymize(clip, method, seed=3) for _ in range(2))
    assert torch.equal(a, b)


@METHOD
@pytest.mark.parametrize("hidden", ["everywhere", "a patch"])
def test_window_by_window_equals_one_pass(made: Made, name: str, hidden: str) -> None:
    method, clip = made(name), clip_of(9, 48, 64)
    mask = None if hidden == "everywhere" else patch(9, 48, 64)
    people = people_of(method, 9, 48, 64)
    whole = method(clip, mask=mask, **whom_in_clip(people), state=method.init_state(seed=5)).clip
    state, parts = method.init_state(seed=5), []
    cuts = range(0, 10, method.window) if method.window else (0, 1, 4)
    for at in (slice(a, b) for a, b in pairwise([*cuts, 9])):
        part, who = None if mask is None else mask[:, :, at], whom_in_clip(people, at)
        out = method(clip[:, :, at], mask=part, **who, state=state)
        parts.append(out.clip)
        state = out.state
    assert torch.equal(torch.cat(parts, 2), whole)


@METHOD
def test_frames_at_once_give_the_pixels_of_single_ones(made: Made, name: str) -> None:
    method = made(name)
    if method.window:
        pytest.skip("it takes as many frames as its window")
    frames = (clip_of(3, 120, 160)[0].permute(1, 2, 3, 0) * 255).round().byte().numpy()
    people = people_of(method, 3, 120, 160)
    whole, _ = method.forward_on_pixels(frames, **whom(people), state=method.init_state(seed=2))
    state = method.init_state(seed=2)
    for t in range(3):
        at = slice(t, t + 1)
        one, state = method.forward_on_pixels(frames[at], **whom(people, at), state=state)
        assert np.array_equal(one[0], whole[t])


@METHOD
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_another_process_goes_on_without_pixels_of_this_one(
    made: Made, name: str, dtype: type[np.integer]
) -> None:
    method = made(name)
    if not (method.framewise or method.resumable):
        pytest.skip("it cannot be gone on with")
    top = np.iinfo(dtype).max
    cut = method.window or 4
    frames = (clip_of(cut + 2, 64, 80)[0].permute(1, 2, 3, 0).numpy() * top).astype(dtype)
    mask = (patch(cut + 2, 64, 80)[0, 0].numpy() * 255).astype(np.uint8)
    people = people_of(method, cut + 2, 64, 80)
    start = method.init_state(seed=5)
    whole, _ = method.on_pixels(frames, mask=mask, **whom(people), state=start)
    first, then = slice(0, cut), slice(cut, None)
    start, who = method.init_state(seed=5), whom(people, first)
    _, state = method.on_pixels(frames[first], mask=mask[first], **who, state=start)
    sent = pickle.dumps(method.detach_state(state))
    before = frames[cut - 1]
    seen = pickle.dumps(before), pickle.dumps(before // (top // 255))
    assert all(one[-2000:-1000] not in sent for one in seen)
    handed_over = [sent]
    if method.framewise or method.window:  # no frame or window needs another's
        handed_over.append(pickle.dumps(method.init_state(seed=5)))
    for one in handed_over:
        state = method.attach_state(pickle.loads(one), before)
        who = whom(people, then)
        rest, _ = method.on_pixels(frames[then], mask=mask[then], **who, state=state)
        assert np.array_equal(rest, whole[cut:])


@METHOD
@pytest.mark.parametrize("hidden", ["everywhere", "a patch"])
@pytest.mark.parametrize("size", [(90, 130), (61, 47), (300, 240), (8, 8), (1, 1)])
def test_fast_path_gives_the_same_pixels(
    made: Made, name: str, hidden: str, size: tuple[int, int]
) -> None:
    method = made(name)
    frames = (clip_of(3, *size)[0].permute(1, 2, 3, 0) * 255).round().byte().numpy()
    mask = None if hidden == "everywhere" else (patch(3, *size)[0, 0] * 255).byte().numpy()
    who = whom(people_of(method, 3, *size))
    fast, _ = method.on_pixels(frames, mask=mask, **who, state=method.init_state(seed=2))
    slow, _ = method.forward_on_pixels(frames, mask=mask, **who, state=method.init_state(seed=2))
    assert fast.dtype == np.uint8
    assert np.abs(fast.astype(int) - slow).max() <= 1


@METHOD
def test_ten_bit_frames_keep_their_depth(made: Made, name: str) -> None:
    method = made(name)
    frames = (clip_of(2, 40, 48)[0].permute(1, 2, 3, 0).numpy() * 65535).astype(np.uint16)
    mask = (patch(2, 40, 48)[0, 0] * 255).byte().numpy()
    out, _ = method.on_pixels(frames, mask=mask, state=method.init_state(seed=2))
    assert out.dtype == np.uint16
    if method.full_frame:
        assert len(np.unique(out)) > 256 or method.quantization_step
        return
    left = frames
    if method.regions_only:
        left, _ = method.on_pixels(65535 - frames, mask=mask, state=method.init_state(seed=2))
    assert np.abs(out[mask == 0].astype(int) - left[mask == 0]).max() <= 1


@METHOD
def test_arguments_survive_a_checkpoint(name: str, tmp_path) -> None:
    for make in [METHODS[name], *PRESETS.get(name, {}).values()]:
        method = make(**SHALLOW.get(name, {})).eval()
        method.trained = True
        masquerade.save(method, tmp_path / "a.safetensors")
        again = masquerade.load(tmp_path / "a.safetensors")
        assert type(again) is type(method)
        assert arguments(again) == arguments(method)
        clip = clip_of(2, 40, 48)
        if not method.needs_people:  # whom nothing finds in a clip
            assert torch.equal(anonymize(clip, again, seed=1), anonymize(clip, method, seed=1))


@METHOD
def test_the_constructor_is_the_config(name: str) -> None:
    for parameter in list(inspect.signature(METHODS[name].__init__).parameters.values())[1:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter
        assert parameter.default is not inspect.Parameter.empty, parameter
    assert all(METHODS[name].card)


def test_unknown_methods_and_arguments_are_refused() -> None:
    with pytest.raises(masquerade.MasqueradeError, match="no method 'blurr'"):
        masquerade.build("blurr")
    with pytest.raises(masquerade.MasqueradeError, match="unexpected keyword"):
        masquerade.build("blur", colour=3)


@pytest.mark.parametrize("name", [n for n, kind in METHODS.items() if kind.learned])
def test_an_untrained_method_takes_no_clip(name: str) -> None:
    method = PRESETS[name]["tiny"]()
    with pytest.raises(MissingError, match="has not been trained"):
        anonymize(clip_of(2, 16, 16), method)


@pytest.mark.parametrize("trained", [False, True])
def test_what_was_never_trained_is_not_when_it_is_loaded(tmp_path: Path, trained: bool) -> None:
    method = PRESETS["noise-features"]["tiny"]()
    method.trained = trained
    masquerade.save(method, tmp_path / "w.safetensors")
    assert masquerade.load(tmp_path / "w.safetensors").trained == trained
    masquerade.save(masquerade.build("blur"), tmp_path / "blur.safetensors")
    masquerade.load(tmp_path / "blur.safetensors").check_trained()


@pytest.mark.parametrize("given", ["blur", METHODS["blur"], None])
def test_what_was_not_built_is_not_saved(given: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be built before it is used"):
        masquerade.save(given, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_copy_of_loaded_weights_says_what_they_said(tmp_path: Path) -> None:
    """Saved again they forgot that the training collapsed, and which clips they learned from."""
    method = PRESETS["noise-features"]["tiny"]()
    about = {"learned": ["a mark"], "notes": ["training collapsed: flat"], "seed": 3}
    masquerade.save(method, tmp_path / "first", provenance=about)
    masquerade.save(masquerade.load(tmp_path / "first"), tmp_path / "copy")
    assert masquerade.load(tmp_path / "copy").warnings == ("training collapsed: flat",)
    assert read_provenance(tmp_path / "copy") == about
    method.warnings = ("in doubt",)
    masquerade.save(method, tmp_path / "own", provenance={"seed": 4})
    assert masquerade.load(tmp_path / "own").warnings == ("in doubt",)


def test_a_key_takes_clips_of_every_type_and_draws_by_their_content() -> None:
    method, clip = masquerade.build("selective", key="a secret"), clip_of(2, 16, 16)
    assert anonymize(clip.bfloat16(), method).dtype == torch.bfloat16
    plain = anonymize(clip, method)
    assert torch.equal(anonymize(clip.requires_grad_(), method), plain)
    mask = torch.ones(1, 1, 2, 16, 16)
    whole = anonymize(clip, method, mask=mask)
    mask[..., 0] = 0.5
    rim = anonymize(clip, method, mask=mask)  # under one noise both would give what 0.5 hides
    assert not torch.equal(rim[..., 8], whole[..., 8])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clip": np.zeros((1, 3, 2, 8, 8), np.float32)}, "clips that are torch tensors, not ndar"),
        ({"clip": [1.0]}, "clips that are torch tensors, not list"),
        ({"mask": np.ones((1, 1, 2, 8, 8))}, "masks that are torch tensors, not ndarray"),
        ({"seed": "x"}, "--seed must be"),
        ({"seed": -1}, "--seed must be"),
        ({"seed": 1.5}, "--seed must be"),
    ],
)
def test_what_is_no_clip_mask_or_seed_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        anonymize(**{"clip": clip_of(2, 8, 8), "anonymizer": masquerade.build("blur"), **given})


@METHOD
def test_an_untrained_method_writes_no_file(name: str, clip: Path, tmp_path: Path) -> None:
    make = PRESETS[name]["tiny"] if METHODS[name].learned else METHODS[name]
    run = partial(masquerade.anonymize_file, clip, regions="frame", preview=0.1, allow_gaps=True)
    if METHODS[name].learned:
        with pytest.raises(MissingError, match="has not been trained"):
            run(tmp_path / "out.mp4", make())
        assert not list(tmp_path.iterdir())
    method = make()
    method.trained = True
    masquerade.save(method, tmp_path / "w.safetensors")
    run(tmp_path / "out.mp4", masquerade.load(tmp_path / "w.safetensors"))
    assert (tmp_path / "out.mp4").exists()


@METHOD
def test_only_inference_arguments_change_when_weights_are_loaded(name: str, tmp_path: Path) -> None:
    kind = METHODS[name]
    known = set(inspect.signature(kind.__init__).parameters) - {"self"}
    assert set(kind.inference_args) <= known
    make = PRESETS[name]["tiny"] if kind.learned else kind
    masquerade.save(make(), tmp_path / "w.safetensors")
    for fixed in sorted(known - set(kind.inference_args))[:1]:
        now = getattr(make(), fixed)
        with pytest.raises(masquerade.MasqueradeError, match=f"with its {fixed}"):
            masquerade.load(tmp_path / "w.safetensors", **{fixed: now})


def test_weights_that_were_changed_or_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path, method = tmp_path / "run" / "w.safetensors", PRESETS["noise-features"]["tiny"]()
    path.parent.mkdir()
    masquerade.save(method, path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(masquerade.MasqueradeError, match=r"run/w.safetensors were changed"):
        masquerade.load(path)
    with torch.no_grad():
        next(method.parameters()).fill_(torch.nan)
    masquerade.save(method, path)
    with pytest.raises(masquerade.MasqueradeError, match="not all finite numbers; train it anew"):
        masquerade.load(path)
