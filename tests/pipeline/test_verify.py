"""What is refused before anything is published: nothing found, regions lost, detail still there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import masquerade
from masquerade.cli.progress import summary
from masquerade.errors import OutputError
from masquerade.regions.boxes import Box, BoxWriter


def film(path: Path, *, frames: int = 24, shift: int = 0) -> Path:
    """Noise that stands still, or moves by `shift` pixels a frame as though the camera did."""
    texture = np.random.default_rng(0).integers(0, 255, (6, 40, 3), np.uint8)
    wide = np.kron(texture, np.ones((8, 16, 1), np.uint8))
    clip = np.stack([np.roll(wide, shift * t, 1)[:48, :96] for t in range(frames)])
    tensor = torch.from_numpy(clip).permute(3, 0, 1, 2)[None].float() / 255
    masquerade.write_video(path, tensor)
    return path


def boxes_in(path: Path, frames: set[int]) -> Path:
    with BoxWriter(path, width=96, height=48) as writer:
        for t in sorted(frames):
            writer.add(t, [Box(8, 8, 40, 40, 1.0)])
    return path


def blacken(src: Path, dst: Path, **settings: Any) -> masquerade.Receipt:
    return masquerade.anonymize_file(src, dst, masquerade.build("blacken"), **settings)


class Sightings:
    """A region source that finds a face in some frames, and is unsure of others."""

    name, look_ahead, model_sha256 = "faces", 0, None

    def __init__(self, found: set[int], unsure: set[int] = frozenset()) -> None:  # type: ignore
        self.found, self.unsure = found, unsure

    def __call__(self, frames):
        from masquerade.regions.region import Region

        for t, _ in enumerate(frames):
            boxes = (Box(8, 8, 40, 40, 1.0),) if t in self.found else ()
            yield Region(boxes=boxes, full_frame=t in self.unsure)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the region source of the next runs find something in these frames."""
    import masquerade.pipeline.config as config

    def use(*args: set[int]) -> None:
        monkeypatch.setattr(config, "build_region_source", lambda *_: Sightings(*args))

    return use


def test_a_video_in_which_nothing_was_found_is_not_published(tmp_path: Path, found) -> None:
    src = film(tmp_path / "in.mp4")
    found(set())
    with pytest.raises(OutputError, match=r"nothing to hide was found in in\.mp4") as caught:
        blacken(src, tmp_path / "o" / "a.mp4")
    assert caught.value.exit_code == 4 and "--allow-empty" in str(caught.value)
    assert not list((tmp_path / "o").iterdir())
    receipt = blacken(src, tmp_path / "o" / "a.mp4", allow_empty=True)
    assert receipt.coverage.empty == 24 and (tmp_path / "o" / "a.mp4").exists()
    assert any("nothing was found" in warning for warning in receipt.warnings)


def test_regions_that_are_lost_between_sightings_are_not_published(tmp_path: Path, found) -> None:
    src = film(tmp_path / "in.mp4", frames=60)
    found({*range(5, 30), *range(32, 50)})  # 2 of the 45 frames from 5 to 49
    with pytest.raises(OutputError, match="in 2 of the 45 frames between") as caught:
        blacken(src, tmp_path / "a.mp4")
    assert "--allow-gaps" in str(caught.value) and not (tmp_path / "a.mp4").exists()
    receipt = blacken(src, tmp_path / "a.mp4", allow_gaps=True)
    assert (receipt.coverage.missed, receipt.coverage.span) == (2, 45)
    assert receipt.coverage.empty == 17
    assert "people hidden by blacken in 43 of 60 frames" in summary(receipt)
    assert "none in 2 frames between" in summary(receipt)


def test_one_frame_in_fifty_may_be_missed(tmp_path: Path, found) -> None:
    found(set(range(60)) - {30})
    receipt = blacken(film(tmp_path / "in.mp4", frames=60), tmp_path / "a.mp4")
    assert receipt.coverage.missed == 1 and not receipt.warnings


def test_what_is_hidden_whole_for_want_of_certainty_is_not_published(tmp_path: Path, found) -> None:
    src = film(tmp_path / "in.mp4")
    found(set(range(24)), {3, 4})
    with pytest.raises(OutputError, match="2 frames were hidden whole"):
        blacken(src, tmp_path / "a.mp4")
    shadow = blacken(src, tmp_path / "a.mp4", shadow=True)
    assert shadow.coverage.filled_whole == 2 and "hidden whole" in shadow.warnings[0]
    receipt = blacken(src, tmp_path / "a.mp4", allow_gaps=True, overwrite=True)
    assert receipt.coverage.filled_whole == 2
    assert "in 22 of 24 frames, 2 frames hidden whole" in summary(receipt)


def test_people_are_not_said_to_be_hidden_where_the_camera_moves(tmp_path: Path) -> None:
    receipt = blacken(
        film(tmp_path / "in.mp4", shift=6),
        tmp_path / "a.mp4",
        regions="people",
        detector="motion",
        allow_gaps=True,
    )
    assert receipt.coverage.filled_whole == 24
    assert "people hidden by blacken in 0 of 24 frames, 24 frames hidden whole" in summary(receipt)


@pytest.mark.parametrize(
    ("hidden", "says"),
    [(288, "6.2% of the area of 24"), (4607, "99.9% of the area of 24"), (4608, "all of 24")],
)
def test_a_part_of_each_frame_is_not_called_all_of_it(
    tmp_path: Path, hidden: int, says: str
) -> None:
    part = np.zeros(48 * 96, np.uint8)
    part[:hidden] = 255
    cv2.imwrite(str(tmp_path / "part.png"), part.reshape(48, 96))
    src, region = film(tmp_path / "in.mp4"), tmp_path / "part.png"
    receipt = blacken(src, tmp_path / "a.mp4", regions="frame", region=region)
    assert summary(receipt) == f"{says} frames hidden by blacken"


def exports(folder: Path) -> dict[str, Path]:
    return {"export_boxes": folder / "b.json", "export_masks": folder / "m.mkv"}


def test_all_files_of_a_run_appear_or_none(
    tmp_path: Path, found, monkeypatch: pytest.MonkeyPatch
) -> None:
    import masquerade.transaction as transaction

    src, out = film(tmp_path / "in.mp4"), tmp_path / "o"
    found(set())
    with pytest.raises(OutputError):
        blacken(src, out / "a.mp4", **exports(out))
    assert not list(out.iterdir())
    found(set(range(24)))
    publish = transaction.publish

    def failing(part: Path, destination: Path, *, overwrite: bool) -> None:
        if destination.name == "a.mp4":
            assert len(list(out.glob("[!.]*"))) == 3  # the others are there, the video is last
            raise OSError(28, "No space left on device")
        publish(part, destination, overwrite=overwrite)

    monkeypatch.setattr(transaction, "publish", failing)
    with pytest.raises(masquerade.errors.MasqueradeError, match="No space"):
        blacken(src, out / "a.mp4", **exports(out))
    assert not list(out.iterdir())


def test_shadow_exports_the_masks(tmp_path: Path, found) -> None:
    found(set(range(24)))
    src = film(tmp_path / "in.mp4")
    blacken(src, tmp_path / "a.mp4", shadow=True, **exports(tmp_path))
    masks = masquerade.read_video(tmp_path / "m.mkv").clip
    assert masks.shape == (1, 3, 24, 48, 96) and masks[..., 24, 24].min() == 1


def test_gaps_in_a_file_of_boxes_are_meant(tmp_path: Path) -> None:
    src = film(tmp_path / "in.mp4")
    boxes = boxes_in(tmp_path / "b.json", {0, 20})
    assert blacken(src, tmp_path / "a.mp4", regions=f"boxes:{boxes}").coverage.missed == 19
    none = boxes_in(tmp_path / "none.json", set())
    with pytest.raises(OutputError, match="nothing to hide"):
        blacken(src, tmp_path / "c.mp4", regions=f"boxes:{none}")


def test_the_whole_frame_by_request_is_certain(tmp_path: Path) -> None:
    receipt = blacken(film(tmp_path / "in.mp4"), tmp_path / "a.mp4", regions="frame")
    assert receipt.coverage.filled_whole == receipt.coverage.missed == 0
