"""Extractors of keys: weights from files and downloads, resizing, grids, and colour-hog."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from frames import noise
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from masquerade.errors import MissingError, OutputError, UsageError
from masquerade.models.key_vit import KeyViT
from masquerade.models.published_weights import read_weights
from masquerade.regions import key_extractors, key_weights
from masquerade.regions.hog_keys import ColourHog
from masquerade.regions.key_extractors import (
    EXTRACTORS,
    NETWORKS,
    ViTKeys,
    build_key_extractor,
    extract_keys,
    key_width,
)
from masquerade.regions.key_weights import Published, downloaded_file, fetch
from masquerade.regions.saliency import saliency


@pytest.fixture(autouse=True)
def _small_networks_and_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published networks, narrower and shallower; `test_keyvit` has their true shapes."""
    monkeypatch.setenv("MASQUERADE_WEIGHTS", str(tmp_path / "cache"))
    for name, kind in SMALL.items():
        monkeypatch.setitem(NETWORKS, name, kind)


@pytest.fixture(scope="module")
def weights() -> dict[str, dict[str, Tensor]]:
    """Random weights of each network, in the published names."""
    torch.manual_seed(3)
    made = {}
    for name, kind in SMALL.items():
        names = kind.build(kind.stride).state_dict()
        made[name] = {k: torch.randn(v.shape) * 0.2 for k, v in names.items()}
    return made


SMALL = {
    name: replace(kind, width=24, depth=2, heads=3)
    for name, kind in key_extractors.NETWORKS.items()
}


def picture() -> np.ndarray:
    return noise(80, 60, 2)


def test_table_of_extractors() -> None:
    assert list(EXTRACTORS) == ["dino-s8", "dino-s16", "dinov2-s14", "colour-hog"]
    assert set(key_weights.PUBLISHED) == set(NETWORKS)


@pytest.mark.parametrize(
    ("name", "wrap", "suffix"),
    [
        ("dino-s8", None, ".pth"),
        ("dino-s16", "teacher", ".pth"),
        ("dino-s16", None, ".safetensors"),
        ("dinov2-s14", None, ".pth"),
        ("dinov2-s14", "teacher", ".pth"),
    ],
)
def test_files_in_the_published_naming_load(
    name: str,
    wrap: str | None,
    suffix: str,
    weights: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    file = tmp_path / f"w{suffix}"
    if wrap:
        prefix = "backbone." if name == "dinov2-s14" else "module.backbone."
        inside = {f"{prefix}{k}": v for k, v in weights[name].items()}
        inside[prefix.replace("backbone", "dino_head") + "mlp.0.weight"] = torch.zeros(2, 2)
        torch.save({wrap: inside, "student": {}, "epoch": 3}, file)
    elif suffix == ".pth":
        torch.save(weights[name], file)
    else:
        save_file(weights[name], file)
    made = build_key_extractor(name, weights=file, short=56)
    assert isinstance(made, ViTKeys)
    for key, value in made.net.state_dict().items():
        assert key == "mask_token" or torch.equal(value, weights[name][key]), key
    assert made.model_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    patch, stride = NETWORKS[name].patch, NETWORKS[name].stride
    grid = made(picture())
    assert grid.keys.shape == (1 + (56 - patch) // stride, 1 + (74 - patch) // stride, 24)
    assert grid.keys.dtype == np.float32 and np.isfinite(grid.keys).all()
    assert grid.y[0] == pytest.approx(patch / 2 * 60 / 56)
    assert np.diff(grid.x) == pytest.approx(stride * 80 / 74, rel=1e-4)


def test_keys_are_those_of_the_resized_normalised_picture(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.save(weights["dino-s16"], tmp_path / "w.pth")
    made = build_key_extractor("dino-s16", weights=tmp_path / "w.pth", stride=16, short=64)
    image = Image.fromarray(picture()).resize((85, 64), Image.Resampling.LANCZOS)
    frame = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    net = KeyViT(patch=16, width=24, depth=2, heads=3).eval()
    net.load_state_dict(weights["dino-s16"])
    with torch.no_grad():
        wanted = net.keys((frame - mean[:, None, None]) / std[:, None, None])[0].numpy()
    found = made(picture()).keys
    assert found.shape == wanted.shape == (4, 5, 24)
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()  # rounding of the resizer


def test_fingerprint_depends_on_weights_and_not_on_the_file_format(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.save(weights["dino-s16"], tmp_path / "a.pth")
    save_file(weights["dino-s16"], tmp_path / "b.safetensors")
    other = {**weights["dino-s16"], "cls_token": torch.zeros(1, 1, 24)}
    torch.save(other, tmp_path / "c.pth")
    a, b, c = (
        build_key_extractor("dino-s16", weights=tmp_path / f).fingerprint
        for f in ("a.pth", "b.safetensors", "c.pth")
    )
    assert a == b != c
    assert key_width(a) == SMALL["dino-s16"].width and key_width("keys of another") is None
    assert build_key_extractor("dino-s16", weights=tmp_path / "a.pth", stride=16).fingerprint != a
    assert (
        ColourHog().fingerprint
        != ColourHog(stride=8).fingerprint
        != ColourHog(short=160).fingerprint
    )


def test_weights_of_another_network_are_refused(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.save(weights["dino-s16"], tmp_path / "w.pth")
    for name in ("dino-s8", "dinov2-s14"):
        with pytest.raises(UsageError, match=rf"w\.pth does not hold the weights of {name}"):
            build_key_extractor(name, weights=tmp_path / "w.pth")
    registers = {**weights["dinov2-s14"], "register_tokens": torch.zeros(1, 4, 24)}
    torch.save(registers, tmp_path / "reg.pth")
    with pytest.raises(UsageError, match="register_tokens"):
        build_key_extractor("dinov2-s14", weights=tmp_path / "reg.pth")


@pytest.mark.parametrize("name", list(key_weights.PUBLISHED))
def test_missing_weights_name_a_command_that_works_and_alternatives(name: str) -> None:
    entry = key_weights.PUBLISHED[name]
    with pytest.raises(MissingError, match=r"--key-weights FILE.*colour-hog.*boxes:") as error:
        build_key_extractor(name)
    fetched = f"templates fetch {name}" in str(error.value)
    assert fetched == (entry.sha256 is not None)  # others are refused by it
    assert fetched or entry.url in str(error.value)


def test_wrong_names_and_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="no keys 'dino'; choose of dino-s8"):
        build_key_extractor("dino")
    with pytest.raises(UsageError, match="takes no weights"):
        build_key_extractor("colour-hog", weights=Path("w.pth"))
    with pytest.raises(UsageError, match="stride of 4 or 8"):
        build_key_extractor("colour-hog", stride=3)


def _published(file: Path, sha256: str | None) -> dict[str, Published]:
    return {"dino-s16": Published(file.as_uri(), sha256)}


def test_fetch_refuses_files_of_another_digest(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there.pth"
    torch.save(weights["dino-s16"], there)
    right = hashlib.sha256(there.read_bytes()).hexdigest()
    monkeypatch.setattr(key_weights, "PUBLISHED", _published(there, "0" * 64))
    with pytest.raises(OutputError, match="SHA-256 differs"):
        fetch("dino-s16")
    assert list((tmp_path / "cache").iterdir()) == [] and downloaded_file("dino-s16") is None
    monkeypatch.setattr(key_weights, "PUBLISHED", _published(there, right))
    path = fetch("dino-s16")
    assert path == downloaded_file("dino-s16") and path.read_bytes() == there.read_bytes()
    there.unlink()
    assert fetch("dino-s16") == path  # not asked for again
    assert build_key_extractor("dino-s16").model_sha256 == right
    path.write_bytes(b"damaged")
    with pytest.raises(MissingError, match="cannot be reached"):
        fetch("dino-s16")


def test_weights_without_a_known_digest_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_weights, "PUBLISHED", {"dino-s16": Published("file:///x.pth", None)})
    with pytest.raises(MissingError, match=r"SHA-256 of dino-s16 is not known.*--key-weights FILE"):
        fetch("dino-s16")
    with pytest.raises(UsageError, match="no weights 'colour-hog' to fetch"):
        fetch("colour-hog")


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("size", [(120, 90), (90, 160), (224, 224)])
def test_colour_hog_grid_positions(stride: int, size: tuple[int, int]) -> None:
    width, height = size
    made = ColourHog(stride=stride)
    for x, y in ((0.3, 0.4), (0.71, 0.62)):
        pixels = np.full((height, width, 3), 120, np.uint8)
        middle = round(x * width), round(y * height)
        cv2.circle(pixels, middle, 12, (220, 40, 30), -1)
        grid = made(pixels)
        assert grid.keys.shape[:2] == (len(grid.y), len(grid.x))
        assert np.linalg.norm(grid.keys, axis=-1) == pytest.approx(1, abs=1e-3)
        found = saliency(grid.keys, grid.keys[grid.nearest(*middle)][None])
        weights = (found - found.min()) ** 4
        centre = (weights.sum(0) @ grid.x, weights.sum(1) @ grid.y) / weights.sum()
        assert np.abs(centre - middle).max() < 3


@pytest.mark.parametrize(("width", "height"), [(17, 1), (1, 17), (6000, 1)])
def test_a_picture_too_thin_for_its_short_side_to_be_scaled_is_refused(
    width: int, height: int
) -> None:
    """Of 6000 x 1 pixels 1,344,000 x 224 would be made, which takes more than 9 GB."""
    made = ColourHog(short=32)
    widest = np.zeros((10, 160, 3), np.uint8)
    assert extract_keys(made, widest).width == 160
    with pytest.raises(UsageError, match=f"{width}x{height} pixels is too thin"):
        extract_keys(made, np.zeros((height, width, 3), np.uint8))


def test_colour_hog_distinguishes_colours_and_textures() -> None:
    made = ColourHog()

    def key(pixels: np.ndarray) -> np.ndarray:
        grid = made(pixels)
        return grid.keys[grid.nearest(60, 60)]

    def plain(*colour: int) -> np.ndarray:
        return np.full((120, 120, 3), colour, np.uint8)

    stripes = plain(200, 40, 40)
    stripes[:, ::6] = stripes[:, 1::6] = stripes[:, 2::6] = (120, 40, 40)
    red, dark, blue = plain(200, 40, 40), plain(180, 36, 36), plain(40, 40, 200)
    assert key(red) @ key(dark) > 0.8
    assert key(red) @ key(blue) < 0.5
    assert key(stripes) @ key(stripes.transpose(1, 0, 2).copy()) < key(stripes) @ key(stripes)
    assert key(red) @ key(stripes) < 0.8


def test_keys_module_does_not_use_the_network() -> None:
    assert not hasattr(key_extractors, "urlopen")


def test_weights_are_read_once_until_their_file_changes(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each video of an evaluation has a source of its own, of one network."""
    path, read = tmp_path / "dino.safetensors", []

    def spy(path: Path) -> dict[str, Tensor]:
        read.append(path)
        return read_weights(path)

    monkeypatch.setattr(key_extractors, "read_weights", spy)
    save_file(weights["dino-s16"], path)
    first, again = (ViTKeys("dino-s16", weights=path) for _ in range(2))
    assert len(read) == 1 and first.net is again.net and first.fingerprint == again.fingerprint
    save_file({name: value + 1 for name, value in weights["dino-s16"].items()}, path)
    other = ViTKeys("dino-s16", weights=path)
    assert len(read) == 2 and other.fingerprint != first.fingerprint
    assert other.model_sha256 != first.model_sha256
    assert ViTKeys("dino-s16", weights=path, stride=16).net.stride == 16
