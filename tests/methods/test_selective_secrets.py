"""The noise cannot be inverted (docs/papers.md 3.7), and no record holds its key."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import masquerade
from masquerade.checkpoint import arguments
from masquerade.errors import UsageError
from masquerade.methods import PRESETS
from masquerade.methods.selective import RECORDED_KEY, Selective
from masquerade.methods.selective.noise import Secret
from masquerade.pipeline.receipt import config_hash

PAPER = PRESETS["selective"]["paper"]()

SECRET = "correct horse battery staple"
H, W = 72, 96


def frames(count: int = 1) -> np.ndarray:
    """(T, H, W, 3) of a smooth texture."""
    noise = torch.rand(1, 3, H + 8, W + 8, generator=torch.Generator().manual_seed(0))
    texture = torch.nn.functional.avg_pool2d(noise, 9, 1)
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    image = (texture[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return np.repeat(image[None], count, axis=0)


def saliency() -> np.ndarray:
    """(1, H, W) of 0 to 255: a peak of 0.9 that fades, like the saliency of a template."""
    y, x = np.mgrid[:H, :W]
    peak = 0.9 * np.exp(-(((y - H / 2) / 20) ** 2 + ((x - W / 2) / 26) ** 2))
    return (peak * 255).round().astype(np.uint8)[None]


def strength_of(method: Selective) -> np.ndarray:
    """(H, W, 1), S of eq. 5, known to the attacker."""
    return np.minimum(saliency()[0, ..., None] / 255 / method.core, 1)


def psnr(guess: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    error = (guess.clip(0, 255) - truth)[mask]
    return float(20 * np.log10(255 / np.sqrt(np.mean(error**2))))


def invert(out: np.ndarray, noise: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """I = (O - S N) / (1 - S); where S = 1 the mean is guessed."""
    guess = (out - strength * noise) / np.maximum(1 - strength, 1e-6)
    open_ = strength[..., 0] < 1
    guess[~open_] = guess[open_].mean(0)
    return guess


def fit_half(out: np.ndarray, noise: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A linear fit from O and N around each pixel, trained on half of the original."""
    seen = np.concatenate([out, noise, out - noise], -1) / 255
    near = [np.roll(seen, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    x = np.concatenate([*near, np.ones((H, W, 1))], -1)
    known_half = mask & (np.arange(W) < W // 2)[None]
    ridge = x[known_half].T @ x[known_half] + 1e-2 * np.eye(x.shape[-1])
    return x @ np.linalg.solve(ridge, x[known_half].T @ truth[known_half])


@pytest.mark.parametrize("make", [*PRESETS["selective"].values(), Selective])
def test_only_the_default_resists_known_noise_and_saliency(make) -> None:
    """In the core no attack beats filling with the mean (docs/papers.md 3.7)."""
    method, truth = make(), frames()[0].astype(float)
    out = method.on_bytes(frames(), mask=saliency(), state=method.init_state(seed=1))[0][0]
    noise = method.on_bytes(frames(), state=method.init_state(seed=1))[0][0].astype(float)
    strength = strength_of(method)
    core = strength[..., 0] >= 1 if method.core < 1 else saliency()[0] > 153
    rim = (strength[..., 0] > 0) & ~core
    unseen = core & (np.arange(W) >= W // 2)[None]
    mean = np.broadcast_to(truth[unseen].mean(0), truth.shape)
    floor = psnr(mean, truth, unseen)
    guesses = [invert(out, noise, strength), fit_half(out.astype(float), noise, truth, core)]
    best = max(psnr(guess, truth, unseen) for guess in guesses)
    assert core.sum() > 500 and rim.sum() > 500
    if method.core < 1:
        assert best < floor + 0.2
    else:
        assert best > floor + 20
        bound = 0.5 / (1 - strength) + 0.6  # eight bits, and the noise's own eight
        assert (np.abs(guesses[0] - truth) <= bound)[strength[..., 0] < 0.9].all()
    assert psnr(guesses[0], truth, rim) > 30  # what is not wholly hidden is not hidden


def test_averaging_copies_gains_only_without_a_key() -> None:
    """Pixels with S < 1 are recovered from the mean of eight copies, unless they share a key."""
    truth, strength = frames()[0].astype(float), strength_of(PAPER)
    rim = (strength[..., 0] > 0.5) & (strength[..., 0] < 1)
    expected = 255 * np.array(PAPER.mean)
    gains = {}
    for key in (None, SECRET):
        method = Selective(core=1.0, key=key)
        copies = [
            method.on_bytes(frames(), mask=saliency(), state=method.init_state(source=b"one"))[0][0]
            for _ in range(8)
        ]
        found = [
            psnr(invert(np.mean(copies[:k], 0), expected, strength), truth, rim) for k in (1, 8)
        ]
        gains[key] = found[1] - found[0]
    assert gains[SECRET] == 0
    assert gains[None] > 4


def noise_of(method: Selective, **known) -> bytes:
    return bytes(method.on_bytes(frames(), state=method.init_state(**known))[0])


def test_without_a_seed_or_key_no_two_runs_agree() -> None:
    method = Selective()
    a, b = (np.frombuffer(noise_of(method, source=b"one"), np.uint8) for _ in range(2))
    assert abs(np.corrcoef(a.reshape(-1, 3)[:, 0], b.reshape(-1, 3)[:, 0])[0, 1]) < 0.05
    assert len(method.init_state()) == 32


def test_noise_depends_on_key_and_source() -> None:
    one = noise_of(Selective(key=SECRET), source=b"one")
    assert noise_of(Selective(key=SECRET), source=b"one") == one
    assert noise_of(Selective(key=SECRET), source=b"two") != one
    assert noise_of(Selective(key=SECRET + "!"), source=b"one") != one
    assert noise_of(pickle.loads(pickle.dumps(Selective(key=SECRET))), source=b"one") == one


@pytest.mark.parametrize(
    "other", [{"core": 1}, {"mean": (0.5, 0.5, 0.5)}, {"std": (0.1, 0.1, 0.1)}, {"warp": "first"}]
)
def test_copies_that_mix_noise_and_picture_otherwise_share_no_noise(other) -> None:
    """Of two mixtures with one noise the picture is the solution."""
    keys = [Selective(key=SECRET, **own).init_state(source=b"one") for own in ({}, other)]
    assert keys[0] != keys[1]
    assert keys[0] == Selective(key=SECRET, core=0.6).init_state(source=b"one")


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """What the noise of each file is made of besides the key, as long as a test runs."""
    given, real = list[bytes | None](), Selective.init_state

    def noted(method: Selective, *, seed: int | None = None, source: bytes | None = None) -> Secret:
        given.append(source)
        return real(method, seed=seed, source=source)

    monkeypatch.setattr(Selective, "init_state", noted)
    return given


def test_copies_of_other_masks_share_no_noise(
    clip: Path, tmp_path: Path, digests: list[bytes | None]
) -> None:
    masked = ({"feather": 9.0}, {"mask_scale": 2.0}, {"preview": 0.2}, {"salvage": True})
    several: list[dict[str, object]] = [{}, {"crf": 30}, {"device": "cpu"}, *masked]
    for number, own in enumerate(several):
        settings = {"regions": "frame", "preview": 0.1, "allow_gaps": True, **own}
        dst = tmp_path / f"{number}.mp4"
        masquerade.anonymize_file(clip, dst, Selective(key=SECRET), **settings)
    assert len(digests) == len(several) and len(set(digests)) == 1 + len(masked)
    assert digests[0] == digests[1]
    assert torch.cuda.is_available() or digests[0] == digests[2]  # where "auto" is the CPU


def test_a_folder_of_images_at_another_rate_shares_no_noise(
    tmp_path: Path, digests: list[bytes | None]
) -> None:
    """By its rate other frames are those in which somebody is looked for."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(frames(3)):
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    for number, rate in enumerate((5, 30, 30)):
        settings = {"regions": "frame", "sequence": rate}
        masquerade.anonymize_file(
            folder, tmp_path / f"{number}.mp4", Selective(key=SECRET), **settings
        )
    assert digests[0] != digests[1] == digests[2]


def test_copies_of_another_version_share_no_noise(
    clip: Path, tmp_path: Path, digests: list[bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file of it changed: masks and mixtures are made in several places."""
    read = set[str]()

    def digest(*patterns: str) -> str:
        root = Path(masquerade.__file__).parent
        for pattern in patterns:
            read.update(str(path.relative_to(root)) for path in root.glob(pattern))
        return f"version {len(digests)}"

    monkeypatch.setattr("masquerade.pipeline.single_file.code_digest", digest)
    for number in range(2):
        settings = {"regions": "frame", "preview": 0.1}
        masquerade.anonymize_file(
            clip, tmp_path / f"{number}.mp4", Selective(key=SECRET), **settings
        )
    assert digests[0] != digests[1]
    assert read >= {"regions/masks.py", "pipeline/stream.py", "methods/selective/selective.py"}


def test_copies_by_other_libraries_share_no_noise(
    clip: Path, tmp_path: Path, digests: list[bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their boxes may differ by a pixel, and so would the two shares in a soft edge."""
    for version in ("1", "2"):
        monkeypatch.setattr("masquerade.storage.package_version", lambda name, own=version: own)
        masquerade.anonymize_file(
            clip, tmp_path / f"{version}.mp4", Selective(key=SECRET), regions="frame", preview=0.1
        )
    assert digests[0] != digests[1]


def test_a_key_without_a_source_is_refused() -> None:
    """Otherwise all videos under one key would share their noise."""
    for call in (lambda m: m.init_state(), lambda m: m.on_bytes(frames())):
        with pytest.raises(UsageError, match="source"):
            call(Selective(key=SECRET))


def test_no_record_holds_the_key(tmp_path) -> None:
    method = Selective(key=SECRET)
    first = method.init_state(source=b"one")
    state = method.on_bytes(frames(), state=first)[1]
    masquerade.save(method, tmp_path / "a.safetensors")
    records = [
        repr(method),
        repr(method.__dict__),
        f"{first} {first!r}",
        repr(state),
        json.dumps(arguments(method)),
        (tmp_path / "a.safetensors").read_bytes().decode("latin-1"),
    ]
    secrets = [SECRET, *(repr(bytes(x)) for x in (method._secret, first, state[0].key))]
    for record in records:
        assert not any(secret[2:-1] in record for secret in secrets)
    assert arguments(method)["key"] == RECORDED_KEY
    hashes = [config_hash(arguments(Selective(key=key))) for key in (SECRET, "another one")]
    assert hashes[0] == hashes[1]  # nor a digest that a guess could be tried on


def test_checkpoint_made_with_a_key_asks_for_it(tmp_path) -> None:
    masquerade.save(Selective(key=SECRET), tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="--key"):
        masquerade.load(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="--key"):
        Selective(key="")
