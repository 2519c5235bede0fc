"""Batches: names of outputs, failures of single files, resuming, and interruption."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch

import masquerade
from masquerade import output_paths
from masquerade.cli import main
from masquerade.errors import UsageError
from masquerade.pipeline import file_outcome
from masquerade.pipeline.batch import anonymize_batch, is_finished
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.file_outcome import exit_code
from masquerade.pipeline.outputs import FileTask, check_outputs
from masquerade.pipeline.plan import plan_tasks
from masquerade.storage import MARK
from masquerade.video.probe import OWN_SUFFIX, SHEET_SUFFIX, video_digest

PICTURE = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()


FORMATS = {  # FFmpeg's muxer, encoder and pixels
    ".h264": ("h264", "libx264", "yuv420p"),
    ".mjpeg": ("mjpeg", "mjpeg", "yuvj420p"),
    ".ivf": ("ivf", "libvpx-vp9", "yuv420p"),
    ".ogg": ("ogg", "libvpx", "yuv420p"),
    ".apng": ("apng", "apng", "rgb24"),
    ".m2v": ("mpeg2video", "mpeg2video", "yuv420p"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """in/a.mp4, in/b.mov, in/sub/c.png, one of our own outputs, and what is no video."""
    for name in ("a.mp4", "b.mov", "sub/c.png", f"a{OWN_SUFFIX}.mp4", "notes.txt", ".hidden.mp4"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in")
    return tmp_path / "in"


def names(tasks: list[FileTask], base: Path) -> dict[str, str]:
    return {
        str(task.src.relative_to(base)): str(Path(os.path.relpath(task.dst, base)))
        for task in tasks
    }


def test_outputs_lie_beside_their_inputs_by_default(tree: Path) -> None:
    expected = {"a.mp4": f"a{OWN_SUFFIX}.mp4", "b.mov": f"b{OWN_SUFFIX}.mp4"}
    assert names(plan_tasks([str(tree)]), tree) == expected
    assert names(plan_tasks([str(tree / "a.mp4")], suffix="-x"), tree) == {"a.mp4": "a-x.mp4"}


def test_the_private_sheet_of_a_folder_is_no_input(tree: Path) -> None:
    """It shows everybody, and would lie among the releases."""
    (tree / f"a{SHEET_SUFFIX}.png").write_bytes(b"everybody")
    assert {task.src.name for task in plan_tasks([str(tree)], output="o/")} == {"a.mp4", "b.mov"}
    own = f"town{SHEET_SUFFIX}.mp4"  # a video is no sheet
    (tree / own).write_bytes(b"a video")
    assert own in {task.src.name for task in plan_tasks([str(tree)], output="o/")}


def test_a_tree_is_mirrored(tree: Path) -> None:
    tasks = plan_tasks([str(tree)], output=str(tree.parent / "safe"), recursive=True)
    assert names(tasks, tree) == {
        "a.mp4": "../safe/a.mp4",
        "b.mov": "../safe/b.mp4",
        "sub/c.png": "../safe/sub/c.png",
    }


def test_patterns_and_repeats(tree: Path) -> None:
    found = plan_tasks([f"{tree}/*.mov", str(tree / "b.mov"), f"{tree}/**/*.png"], output="o/")
    assert [task.src.name for task in found] == ["b.mov", "c.png"]


def test_a_folder_with_a_dot_that_is_not_there_is_told_by_a_slash(tree: Path) -> None:
    output = str(tree.parent / "Dr.Weber")
    with pytest.raises(UsageError, match="end it with a slash"):
        plan_tasks([str(tree)], output=output)
    with pytest.raises(UsageError, match="end a folder's name with a slash"):
        check_outputs(plan_tasks([str(tree / "a.mp4")], output=output), PipelineConfig())
    assert plan_tasks([str(tree / "a.mp4")], output=f"{output}/")[0].dst.name == "a.mp4"


@pytest.mark.parametrize(
    ("key", "name"), [("report", "r.json"), ("export_boxes", "b.json"), ("export_masks", "m.mkv")]
)
def test_one_file_of_receipts_boxes_or_masks_for_several_inputs_is_refused(
    tree: Path, key: str, name: str
) -> None:
    tasks = plan_tasks([str(tree)], output=f"{tree.parent}/o/")
    with pytest.raises(UsageError, match=f"{name} names one file for 2 inputs; name a folder"):
        check_outputs(tasks, PipelineConfig(**{key: tree.parent / name}))
    check_outputs(tasks[:1], PipelineConfig(**{key: tree.parent / name}))
    (tree.parent / name).mkdir()
    check_outputs(tasks, PipelineConfig(**{key: tree.parent / name}))


def test_a_pattern_leaves_out_what_an_earlier_run_made(tmp_path: Path) -> None:
    """As of a folder: else each night would anonymize the outputs of the last one."""
    for name in ("a.mp4", f"a{OWN_SUFFIX}.mp4", "b-x.mp4", "b-x.mp4.receipt.json", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    found = [task.src.name for task in plan_tasks([f"{tmp_path}/*.mp4"])]
    assert found == ["a.mp4", "b-x.mp4", "b.mp4"]
    found = [task.src.name for task in plan_tasks([f"{tmp_path}/*.mp4"], suffix="-x")]
    assert found == ["a.mp4", "b.mp4"]
    named = plan_tasks([str(tmp_path / f"a{OWN_SUFFIX}.mp4")])
    assert [task.src.name for task in named] == [f"a{OWN_SUFFIX}.mp4"]


@pytest.mark.parametrize("output", ["out.mp4", "exists"])
def test_two_inputs_to_one_file_are_refused(tree: Path, output: str) -> None:
    (tree.parent / "exists").write_bytes(b"")
    with pytest.raises(UsageError, match="name a folder"):
        plan_tasks([str(tree)], output=str(tree.parent / output))


def test_names_that_would_collide_keep_their_old_suffix(tmp_path: Path) -> None:
    for name in ("a.avi", "a.mp4"):
        (tmp_path / name).write_bytes(b"")
    made = {task.dst.name for task in plan_tasks([str(tmp_path)], output=str(tmp_path / "o"))}
    assert made == {"a.avi.mp4", "a.mp4.mp4"}
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.avi").write_bytes(b"")
    with pytest.raises(UsageError, match="both become"):
        plan_tasks(
            [str(tmp_path / "a.avi"), str(tmp_path / "x" / "a.avi")], output=str(tmp_path / "o")
        )


def refused(words: list[str | Path], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence with which the command refuses, before it writes anything."""
    assert main(["anonymize", *map(str, words), "--regions", "frame", "--method", "blacken"]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("extra", [["--overwrite"], ["--overwrite", "--workers", "2"]])
def test_no_source_of_a_batch_is_an_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str]
) -> None:
    for name in ("1.mp4", "1_x.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    message = refused([tmp_path, "--suffix", "_x", *extra], capsys)
    assert "1_x.mp4 would replace" in message and "--suffix" in message
    assert (tmp_path / "1_x.mp4").read_bytes() == b"1_x.mp4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.mp4", "1_x.mp4"]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_no_source_is_an_output_under_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], link
) -> None:
    source, out = tmp_path / "in" / "a.mp4", tmp_path / "out"
    for folder in (source.parent, out):
        folder.mkdir()
    source.write_bytes(b"a")
    (source.parent / "b.mp4").write_bytes(b"b")
    link(source, out / "b.mp4")
    assert "is read" in refused([source.parent, "-o", out, "--overwrite"], capsys)
    (out / "b.mp4").unlink()
    (tmp_path / "alias").symlink_to(source.parent)  # a folder by another name
    assert "is read" in refused([source.parent, "-o", tmp_path / "alias", "--overwrite"], capsys)
    assert source.read_bytes() == b"a"


def test_exports_receipts_and_reports_replace_nothing_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes, a, b = tmp_path / "boxes.json", tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path in (boxes, a, b):
        path.write_bytes(b"mine")
    masks = tmp_path / "m" / "a_anonymized.mp4.mkv"
    masks.parent.mkdir()
    os.link(b, masks)
    config = PipelineConfig(regions=f"boxes:{boxes}", overwrite=True)
    one, both = plan_tasks([str(a)]), plan_tasks([str(a), str(b)])
    for tasks, changes in (
        (one, {"export_boxes": boxes}),
        (one, {"report": a}),
        (one, {"regions": "frame", "region": boxes, "export_boxes": boxes}),
        (both, {"export_masks": masks.parent}),
        (one, {"edits": boxes, "report": boxes, "regions": "frame"}),
    ):
        with pytest.raises(UsageError, match="is read"):
            check_outputs(tasks, replace(config, **changes))
    with pytest.raises(UsageError, match="is read"):
        check_outputs(one, replace(config, report=b), inputs=[b])  # such as --weights
    run = tmp_path / "run"  # the folder of a training, as --weights takes one
    run.mkdir()
    (run / "anonymizer.safetensors").touch()
    check_outputs(one, config, inputs=[run])
    with pytest.raises(UsageError, match="would replace"):
        check_outputs(one, replace(config, report=run / "anonymizer.safetensors"), inputs=[run])
    with pytest.raises(UsageError, match="would replace"):
        check_outputs(one, replace(config, report=run / "anonymizer.safetensors", models=run))
    with pytest.raises(UsageError, match="two outputs"):
        check_outputs(one, replace(config, report=tmp_path / "x", export_boxes=tmp_path / "x"))
    check_outputs(both, config)


def test_an_output_folder_inside_the_input_is_not_read_again(tree: Path) -> None:
    safe = tree / "safe"
    safe.mkdir()
    (safe / "a.mp4").write_bytes(b"made before")
    for inputs in ([str(tree)], [f"{tree}/**/*.mp4"], [str(tree), f"{tree}/**/*"]):
        tasks = plan_tasks(inputs, output=str(safe), recursive=True)
        assert "safe" not in {task.src.parent.name for task in tasks} and tasks
    named = plan_tasks([str(safe / "a.mp4")], output=f"{safe}/", suffix="-x")
    assert [task.src for task in named] == [safe / "a.mp4"]  # whoever names it means it


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of folders that nobody may read, not even who runs the tests."""
    scandir, stat, lstat = os.scandir, os.stat, os.lstat

    def guarded(real: Any, held: Any) -> Any:
        def look(path: Any = ".", *words: Any, **more: Any) -> Any:
            if held(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *words, **more)

        return look

    def inside(path: Any) -> bool:
        return isinstance(path, str | Path) and Path(path).parent.name == "locked"

    monkeypatch.setattr(os, "scandir", guarded(scandir, lambda one: Path(one).name == "locked"))
    monkeypatch.setattr(os, "stat", guarded(stat, inside))
    monkeypatch.setattr(os, "lstat", guarded(lstat, inside))
    return "locked"


def test_folders_by_links_are_done_once_and_what_cannot_be_read_is_named(
    clip: Path, tmp_path: Path, locked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place, other, out = tmp_path / "in", tmp_path / "other", tmp_path / "safe"
    for folder in (place / "sub", place / locked, other):
        folder.mkdir(parents=True)
    for file in (place / "sub" / "a.png", other / "b.png"):
        file.write_bytes(PICTURE)
    for name, to in (("0", "sub"), ("by link", other), ("loop", place), ("gone.mp4", "nothing")):
        (place / name).symlink_to(to)
    words = ["anonymize", str(place), "-r", "-o", str(out), "--method", "blacken", "--json"]
    assert main([*words, "--regions", "frame"]) == 1
    said = {one["source"]: one for one in json.loads(capsys.readouterr().out)}
    done = {key for key, one in said.items() if one["status"] == "done"}
    assert done == {str(place / "sub" / "a.png"), str(place / "by link" / "b.png")}
    assert (out / "sub" / "a.png").exists() and (out / "by link" / "b.png").exists()
    assert "Permission denied" in said[str(place / locked)]["error"]
    assert "a link to nothing" in said[str(place / "gone.mp4")]["error"]
    assert len(said) == 4
    assert main([*words[:3], "--dry-run"]) == 1
    assert "gone.mp4: it is no file" in capsys.readouterr().err


def test_an_earlier_output_is_no_input_by_a_link_either(tree: Path) -> None:
    safe = tree.parent / "safe"
    safe.mkdir()
    (safe / "made.mp4").write_bytes(b"made before")
    (tree / "done").symlink_to(safe)
    tasks = plan_tasks([str(tree)], output=str(safe), recursive=True)
    assert "made.mp4" not in {task.src.name for task in tasks} and tasks


def test_a_source_that_cannot_be_read_is_blamed_and_not_its_output(
    tmp_path: Path, locked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / locked).mkdir()
    source = tmp_path / locked / "a.mp4"
    assert main(["anonymize", str(source.parent)]) == 1
    assert "locked: it cannot be read: Permission denied" in capsys.readouterr().err
    for output in ([], ["-o", str(tmp_path / "safe.mp4")]):
        assert main(["anonymize", str(source), *output, "--regions", "frame"]) == 1
        said = capsys.readouterr().err
        assert f"{source} cannot be read: Permission denied" in said and "safe.mp4" not in said


def test_names_that_differ_in_case_collide_where_the_file_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x/A.mp4", "y/a.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    inputs, out = [str(tmp_path / "x" / "A.mp4"), str(tmp_path / "y" / "a.mp4")], tmp_path / "o"
    assert len(plan_tasks(inputs, output=str(out))) == 2  # this one distinguishes them
    assert not out.exists() and not output_paths.folds_case(out)
    monkeypatch.setattr(output_paths, "folds_case", lambda folder: True)
    with pytest.raises(UsageError, match="both become"):
        plan_tasks(inputs, output=str(out))


def test_sequential_and_hashed_names(tree: Path) -> None:
    tasks = plan_tasks([str(tree)], output="o", name="sequential")
    assert [task.dst.name for task in tasks] == ["000001.mp4", "000002.mp4"]
    tasks = plan_tasks([str(tree)], output="o", name="hash")
    assert [task.dst.stem for task in tasks] == [video_digest(task.src)[:16] for task in tasks]


def test_what_exists_is_not_skipped_by_a_number(called: Any, tree: Path) -> None:
    """A video that came meanwhile has the number of another one."""
    for flag in ("--skip-existing", "--resume"):
        done = called("anonymize", tree, "-o", "o/", "--name", "sequential", flag)
        assert done.returncode == 2 and f"{flag} goes by names" in done.stderr
        assert "give --name hash" in done.stderr and not (tree.parent / "o").exists()


def test_the_container_follows_the_codec(tree: Path) -> None:
    for codec, suffix in (("h264", ".mp4"), ("ffv1", ".mkv"), ("prores", ".mov")):
        assert plan_tasks([str(tree / "a.mp4")], codec=codec)[0].dst.suffix == suffix


@pytest.mark.slow
def test_a_folders_videos_of_every_suffix_are_taken_and_the_others_named(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A video that is passed over in silence is taken for anonymized, and published."""
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    wanted = ["a.mp4", "b.3g2", "c.qt"]
    own = ["a.mp4.receipt.json", "a.mp4.boxes.json", ".hidden", f"a{OWN_SUFFIX}.mp4"]
    for name in (*wanted, *own, "MVI_0001", "n\x1b.txt"):
        shutil.copy(clip, place / name)
    for number, suffix in enumerate((".h264", ".mjpeg", ".ivf", ".ogg", ".apng", ".m2v")):
        with av.open(str(place / f"d{number}{suffix}"), "w", format=FORMATS[suffix][0]) as made:
            stream = made.add_stream(FORMATS[suffix][1], rate=25, width=32, height=32)
            stream.pix_fmt = FORMATS[suffix][2]
            for shade in (0, 100, 200):
                grey = np.full((32, 32, 3), shade, np.uint8)
                made.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            made.mux(stream.encode(None))
        wanted.append(f"d{number}{suffix}")
    words = ["anonymize", str(place), "-o", f"{out}/", "--method", "blacken", "--regions", "frame"]
    for more in (["--dry-run"], ["-q"], ["-q", "--json", "-y"]):
        assert main([*words, *more]) == 0
        said = capsys.readouterr()
        assert "2 of the folder's files are left out" in said.err
        assert r": MVI_0001, n\x1b.txt; a file" in said.err
    listed = {one["source"]: one["status"] for one in json.loads(said.out)}
    assert listed == {
        **{str(place / name): "done" for name in wanted},
        **{str(place / name): "left out" for name in ("MVI_0001", "n\x1b.txt")},
    }
    assert {path.suffix for path in out.iterdir()} == {".mp4", ".json"}
    words.insert(1, str(place / "MVI_0001"))
    assert main([*words, "--dry-run", "-y"]) == 0
    assert "1 of the folder's files is left out" in capsys.readouterr().err


def test_a_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no video"):
        plan_tasks([str(tmp_path)])


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_file_does_not_stop_the_others(clip: Path, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.mp4").write_bytes(b"ffconcat version 1.0\nfile good.mp4\n")
    for name in ("good.mp4", "zoo.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    config = PipelineConfig(regions="frame", preview=0.2)
    tasks = plan_tasks([str(folder)], output=str(tmp_path / "out"))
    outcomes = list(
        anonymize_batch(tasks, build_pipeline(masquerade.build("blacken"), config), workers=workers)
    )
    status = {outcome.task.src.name: outcome.status for outcome in outcomes}
    assert status == {"bad.mp4": "failed", "good.mp4": "done", "zoo.mp4": "done"}
    assert exit_code(outcomes) == 1
    made = {path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".mp4"}
    assert made == {"good.mp4", "zoo.mp4"}


def test_a_name_that_is_too_long_fails_alone(clip: Path, tmp_path: Path) -> None:
    """Also where there is a folder for it, in which the system can say so at once."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for place in (folder, out):
        place.mkdir()
    for name in ("a.mp4", "x" * 240 + ".mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    tasks = plan_tasks([str(folder)], output=str(out), suffix="_without_faces")
    config = PipelineConfig(regions="frame", preview=0.1)
    pipeline = build_pipeline(masquerade.build("blacken"), config)
    done, failed = anonymize_batch(tasks, pipeline, skip_existing=True)
    assert done.status == "done" and done.task.src.name == "a.mp4"
    assert failed.status == "failed" and "choose a shorter -o" in failed.error
    assert sorted(path.name[:5] for path in out.iterdir()) == ["a_wit", "a_wit"]


def test_an_output_of_another_video_of_this_name_is_not_taken_for_done(
    clip: Path, short_clip: Path, tmp_path: Path
) -> None:
    """As of a second camera, whose files are numbered alike and go into the same folder."""
    config = PipelineConfig(regions="frame", preview=0.1)
    pipeline = build_pipeline(masquerade.build("blacken"), config)

    def run(video: Path, camera: str) -> tuple[str, str]:
        source = tmp_path / camera / "1.mp4"
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(video.read_bytes())
        tasks = plan_tasks([str(source)], output=f"{tmp_path}/out/")
        (outcome,) = anonymize_batch(tasks, pipeline, skip_existing=True)
        return outcome.status, outcome.error

    assert run(clip, "door") == ("done", "") and run(clip, "door") == ("skipped", "")
    status, error = run(short_clip, "garden")
    assert status == "failed" and "of another video" in error
    made, receipt = tmp_path / "out" / "1.mp4", tmp_path / "out" / "1.mp4.receipt.json"
    made.write_bytes(made.read_bytes() + b"replaced by a run that wrote no receipt")
    assert run(short_clip, "garden") == ("skipped", ""), "the receipt is of an output before it"
    receipt.unlink()
    assert run(short_clip, "garden") == ("skipped", ""), "nothing but its name is known"


def test_a_source_that_is_called_like_an_output_is_not_left_out(tmp_path: Path) -> None:
    """Other programs name theirs so; it was left out without a word, and taken for anonymized."""
    for name in ("ward", "door", f"door{OWN_SUFFIX}", f"hall{OWN_SUFFIX}", f"gate{OWN_SUFFIX}"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    (tmp_path / f"gate{OWN_SUFFIX}.mp4.receipt.json").write_text("{}")
    found = [task.src.stem for task in plan_tasks([str(tmp_path)], output=f"{tmp_path}/o/")]
    assert found == ["door", f"hall{OWN_SUFFIX}", "ward"]


@pytest.mark.parametrize("public", [False, True])
def test_outputs_among_their_sources_are_no_sources_of_the_next_run(
    clip: Path, tmp_path: Path, public: bool
) -> None:
    """Without a suffix: the second run made a.avi.mp4, and a.mp4.mp4 of the first one's a.mp4."""
    source = tmp_path / "a.avi"
    source.write_bytes(clip.read_bytes())
    config = PipelineConfig(regions="frame", preview=0.1, public_receipt=public)
    pipeline = build_pipeline(masquerade.build("blacken"), config)

    def planned() -> list[str]:
        return [task.src.name for task in plan_tasks([str(tmp_path)], output=f"{tmp_path}/")]

    tasks = plan_tasks([str(tmp_path)], output=f"{tmp_path}/")
    assert [one.status for one in anonymize_batch(tasks, pipeline)] == ["done"]
    assert planned() == ["a.avi"]
    tasks = plan_tasks([str(tmp_path)], output=f"{tmp_path}/")
    assert [o.status for o in anonymize_batch(tasks, pipeline, skip_existing=True)] == ["skipped"]
    (tmp_path / "a.mp4").write_bytes(b"a new video, of which the receipt is not")
    assert planned() == ["a.avi", "a.mp4"]


def test_resume_skips_what_is_finished_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "in" / name).write_bytes(clip.read_bytes())
    tasks = plan_tasks([str(tmp_path / "in")], output=str(tmp_path / "out"))
    method, config = masquerade.build("blacken"), PipelineConfig(regions="frame", preview=0.2)

    def again(**changes) -> list[str]:
        chosen = PipelineConfig(regions="frame", preview=changes.pop("preview", 0.2))
        outcomes = anonymize_batch(tasks, build_pipeline(method, chosen), resume=True, **changes)
        return [o.status for o in sorted(outcomes, key=lambda o: o.task.src)]

    outcomes = anonymize_batch(tasks, build_pipeline(method, config))
    assert [outcome.status for outcome in outcomes] == [
        "done",
        "done",
    ]
    assert again() == ["skipped", "skipped"]
    tasks[0].dst.unlink()
    (tasks[0].dst.parent / "a.mp4.receipt.json").unlink()
    assert again() == ["done", "skipped"]
    assert again(preview=0.1) == ["failed", "failed"]  # other config: the old output is kept
    with open(tasks[1].dst, "ab") as file:
        file.write(b"changed")
    assert again() == ["skipped", "failed"]
    assert again(skip_existing=True) == ["skipped", "skipped"]
    receipt = tasks[1].dst.parent / "b.mp4.receipt.json"
    receipt.write_text("[" * 200_000)  # which is no receipt, and no reason to leave out the others
    assert again() == ["skipped", "failed"]


def test_resume_notices_other_weights_of_the_same_shape(clip: Path, tmp_path: Path) -> None:
    config = PipelineConfig(regions="frame", preview=0.1)
    (task,) = plan_tasks([str(clip)], output=str(tmp_path / "out/"))
    nets = []
    for seed in range(2):
        torch.manual_seed(seed)
        nets.append(masquerade.build("spact", width=2, short=16))
        nets[-1].trained = True
    assert [o.status for o in anonymize_batch([task], build_pipeline(nets[0], config))] == ["done"]
    assert is_finished(task, build_pipeline(nets[0], config))
    assert not is_finished(task, build_pipeline(nets[1], config))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_receipt_of_another_version_is_refused_or_done_again(
    clip: Path, tmp_path: Path, overwrite: bool
) -> None:
    (task,) = plan_tasks([str(clip)], output=str(tmp_path / "out/"))
    config = PipelineConfig(regions="frame", preview=0.1, overwrite=overwrite)
    pipeline = build_pipeline(masquerade.build("blacken"), config)
    assert [o.status for o in anonymize_batch([task], pipeline)] == ["done"]
    path = task.dst.with_name(task.dst.name + ".receipt.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "receipt": 0}))
    (outcome,) = anonymize_batch([task], pipeline, resume=True)
    if overwrite:
        assert outcome.status == "done"
    else:
        assert outcome.status == "failed"
        assert "format 0" in outcome.error and "--overwrite" in outcome.error


def test_exports_of_many_files_go_into_folders(clip: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    tasks = plan_tasks([str(tmp_path)], output=str(tmp_path / "out"))
    config = PipelineConfig(
        regions="frame", preview=0.1, report=tmp_path / "r", export_masks=tmp_path / "m"
    )
    outcomes = list(anonymize_batch(tasks, build_pipeline(masquerade.build("blacken"), config)))
    assert [o.error for o in outcomes] == ["", ""]
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        "a.mp4.receipt.json",
        "b.mp4.receipt.json",
    ]
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["a.mp4.mkv", "b.mp4.mkv"]


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_an_interrupted_run_leaves_nothing_half_made(
    half_size: Path, found_faces: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Killed at a random moment: the final name is absent or whole, and no part survives."""
    out = tmp_path / "out"
    words = ["anonymize", str(half_size), "-o", str(out / "a.mp4"), "--regions", found_faces]
    slowly = ["--encoder-preset", "veryslow"]
    start = "import sys; from masquerade.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words, *slowly],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not any(out.glob(f".*{MARK}*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.Random(int(number)).random() * 0.3)
    process.send_signal(number)
    _, output = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was quicker than the signal
        assert process.returncode == (-9 if number == signal.SIGKILL else 130), output
        if number != signal.SIGKILL:
            assert not list(out.iterdir())
    if not (out / "a.mp4").exists():
        assert main(words) == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.mp4", "a.mp4.receipt.json"]
    receipt = json.loads((out / "a.mp4.receipt.json").read_text())
    assert receipt["output"]["sha256"] == video_digest(out / "a.mp4")


def test_a_batch_keeps_no_receipt_of_files_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells of each frame."""
    for name in "abc":
        masquerade.write_video(tmp_path / f"{name}.mp4", torch.zeros(1, 3, 2, 32, 32))
    made: list[weakref.ref[Any]] = []
    run_file = file_outcome.run_file

    def noted(*given: Any, **more: Any) -> Any:
        if len(made) == 2:
            gc.collect()
            assert made[0]() is None
        receipt = run_file(*given, **more)
        made.append(weakref.ref(receipt))
        return receipt

    monkeypatch.setattr(file_outcome, "run_file", noted)
    words = ["--method", "blacken", "--regions", "frame", "--no-progress"]
    assert main(["anonymize", str(tmp_path), "-o", str(tmp_path / "o"), *words]) == 0
    assert len(made) == 3


@pytest.mark.usefixtures("few_more_files")
def test_a_network_of_many_weights_takes_no_open_files_for_each_task(tmp_path: Path) -> None:
    """Multiprocessing keeps one open for each of its weights."""
    for name in "abc":
        masquerade.write_video(tmp_path / f"{name}.mp4", torch.zeros(1, 3, 2, 32, 32))
    method = masquerade.build("mask-mean")
    method.weights = torch.nn.ParameterList(torch.zeros(1) for _ in range(150))
    pipeline = build_pipeline(method, PipelineConfig(regions="frame", threads=1))
    tasks = plan_tasks([str(tmp_path)], output=str(tmp_path / "o"))
    outcomes = list(anonymize_batch(tasks, pipeline, workers=2))
    assert [one.status for one in outcomes] == ["done"] * 3, outcomes
