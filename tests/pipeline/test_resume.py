"""`--resume` leaves out what an earlier run did with the same settings and files alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from masquerade.cli import main
from masquerade.methods import build
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.regions.saliency import KeyCalibration
from masquerade.regions.template_library import Library

Resume = Callable[..., bool]


@pytest.fixture
def resume(
    short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Resume:
    """Whether a resumed run leaves the file as it is; a dry run must say the same before."""
    monkeypatch.chdir(tmp_path)
    Path("in.mp4").write_bytes(short_clip.read_bytes())

    def resumed(*words: str) -> bool:
        base = ["anonymize", "in.mp4", "-o", "out.mp4", "--preview", "0.1", *words, "-y"]
        assert main([*base, "--resume", "--dry-run"]) == 0
        told = "is done" in capsys.readouterr().out
        assert main([*base, "--resume", "--no-progress"]) == 0
        said = capsys.readouterr()
        done = "left as it is" in said.out + said.err
        assert told is done
        return done

    return resumed


FRAME = ("--method", "blacken", "--regions", "frame")


def test_an_unchanged_run_is_resumed(resume: Resume) -> None:
    assert not resume(*FRAME) and resume(*FRAME)


@pytest.mark.parametrize("flags", [["--allow-empty"], ["--allow-gaps"], ["--threads", "1"]])
def test_who_allows_more_resumes_what_was_done_without(resume: Resume, flags: list[str]) -> None:
    """As the rest of a folder is done, of which some files were refused."""
    assert not resume(*FRAME)
    assert resume(*FRAME, *flags)


@pytest.mark.parametrize("flag", ["--allow-empty", "--allow-gaps"])
def test_what_was_done_with_less_refused_is_done_again(resume: Resume, flag: str) -> None:
    assert not resume(*FRAME, flag)
    assert not resume(*FRAME) and resume(*FRAME)


def test_an_output_that_a_seed_undoes_is_done_again(resume: Resume, capsys: Any) -> None:
    words = ("--method", "selective", "--regions", "frame")
    seeded = ["anonymize", "in.mp4", "-o", "out.mp4", "--preview", "0.1", *words, "--seed", "5"]
    assert main([*seeded, "-q"]) == 0
    assert not resume(*words) and resume(*words)
    capsys.readouterr()
    assert main([*seeded, "--resume", "-y"]) == 2  # no receipt tells which seed it was
    assert "--seed" in capsys.readouterr().err


def test_what_another_key_did_is_not_taken_for_done(resume: Resume, capsys: Any) -> None:
    """No receipt tells which key it was, and a key that leaked is why it is done again."""
    words = ("anonymize", "in.mp4", "-o", "out.mp4", "--preview", "0.1", "--regions", "frame")
    assert main([*words, "--key", "leaked", "-q"]) == 0
    before = Path("out.mp4").read_bytes()
    assert main([*words, "--key", "new", "--resume", "-y"]) == 2
    assert "--key" in capsys.readouterr().err and Path("out.mp4").read_bytes() == before


def write_boxes(left: float) -> None:
    with BoxWriter(Path("b.json"), width=640, height=480) as writer:
        for frame in range(10):
            writer.add(frame, [Box(left, 100, left + 100, 200, 1.0)])


def test_other_boxes_under_the_same_name_are_noticed(resume: Resume) -> None:
    words = ("--method", "blacken", "--regions", "boxes:b.json")
    write_boxes(100)
    assert not resume(*words) and resume(*words)
    write_boxes(200)
    assert not resume(*words) and resume(*words)


def test_another_region_under_the_same_name_is_noticed(resume: Resume) -> None:
    image = np.full((480, 640), 255, np.uint8)
    cv2.imwrite("reg.png", image)
    words = (*FRAME, "--region", "reg.png")
    assert not resume(*words) and resume(*words)
    image[:240] = 0
    cv2.imwrite("reg.png", image)
    assert not resume(*words) and resume(*words)


def test_another_template_under_the_same_name_is_noticed(
    resume: Resume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "library"))
    words = ("--method", "blacken", "--regions", "frame+templates:eye")
    add = ["templates", "add", "eye", "--image", "in.mp4"]
    for point in ("300,200", "100,400"):
        if point != "300,200":
            assert main(["templates", "remove", "eye"]) == 0
        assert main([*add, "--at", f"0:{point}"]) == 0
        assert not resume(*words) and resume(*words)
    library = Library(folder=tmp_path / "library")
    eye = library.load("eye")
    picks = tuple(replace(one, level=KeyCalibration(core=0.5, ground=0.1)) for one in eye.picks)
    library.remove("eye")
    library.add(replace(eye, picks=picks))  # as of the same thing in another picture
    assert not resume(*words) and resume(*words)


def test_an_output_that_was_not_attacked_is_done_again(resume: Resume) -> None:
    assert not resume(*FRAME)
    assert not json.loads(Path("out.mp4.receipt.json").read_text())["verified"]
    assert not resume(*FRAME, "--verify") and resume(*FRAME, "--verify")
    assert json.loads(Path("out.mp4.receipt.json").read_text())["verified"]
    assert resume(*FRAME)  # who asks for less has it


@pytest.mark.parametrize("flag", ["--export-boxes", "--export-masks"])
def test_a_file_whose_export_is_missing_is_done_again(resume: Resume, flag: str) -> None:
    path = "x.json" if flag == "--export-boxes" else "x.mkv"
    assert not resume(*FRAME)
    assert not resume(*FRAME, flag, path) and resume(*FRAME, flag, path)
    assert Path(path).exists()


@pytest.mark.parametrize(
    ("flag", "path"), [("--export-boxes", "x.json"), ("--export-masks", "x.mkv")]
)
def test_a_file_whose_export_is_of_another_run_is_done_again(
    resume: Resume, flag: str, path: str
) -> None:
    assert not resume(*FRAME, flag, path)
    write_boxes(100)
    other = ["anonymize", "in.mp4", "-o", "other.mp4", "--method", "blacken", flag, path]
    assert main([*other, "--regions", "boxes:b.json", "--preview", "0.1", "-y", "-q"]) == 0
    foreign = Path(path).read_bytes()
    assert not resume(*FRAME, flag, path) and resume(*FRAME, flag, path)
    assert Path(path).read_bytes() != foreign
    assert resume(*FRAME)  # who asks for less has it


def test_other_weights_of_flow_under_the_same_name_are_another_method(tmp_path: Path) -> None:
    file, prints = tmp_path / "flow.pth", set()
    for content in (b"first", b"second"):
        file.write_bytes(content)
        method = build("selective", flow_weights=str(file))
        prints.add(build_pipeline(method, PipelineConfig(regions="frame")).fingerprint())
    assert len(prints) == 2


@pytest.mark.parametrize(
    "change", [{"versions": {"masquerade": "0.0.9"}}, {"code_sha256": "0"}, {"code_sha256": None}]
)
def test_what_other_code_made_is_done_again(resume: Resume, change: dict[str, Any]) -> None:
    """A release may have mended a leak that the older outputs still have."""
    assert not resume(*FRAME)
    path = Path("out.mp4.receipt.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert not resume(*FRAME) and resume(*FRAME)
