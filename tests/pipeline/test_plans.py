"""Which files a run reads and writes, and what its settings become: plans before any work."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import masquerade
from masquerade.errors import MissingError, OutputError, UsageError, VideoError
from masquerade.pipeline import file_outcome
from masquerade.pipeline.batch import anonymize_batch, is_finished
from masquerade.pipeline.config import (
    Pipeline,
    PipelineConfig,
    encoding_for,
    region_arguments,
    source_names,
    with_default_regions,
)
from masquerade.pipeline.file_outcome import FileOutcome, exit_code
from masquerade.pipeline.outputs import FileTask, check_outputs, config_of, receipt_path
from masquerade.pipeline.plan import plan_tasks
from masquerade.pipeline.receipt import CODE, VERSION
from masquerade.storage import code_digest, file_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/a.mp4, in/b.MKV, in/c.png, in/d.gif and in/sub/e.avi, of bytes alone."""
    for name in ("a.mp4", "b.MKV", "c.png", "d.gif", "sub/e.avi", "sub/f.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "in"


def planned(*inputs: Path | str, **settings: Any) -> list[tuple[Path, Path]]:
    return [(task.src, task.dst) for task in plan_tasks(map(str, inputs), **settings)]


def test_an_output_is_a_file_for_one_input_and_else_a_folder(folder: Path) -> None:
    a, out = folder / "a.mp4", folder.parent / "out"
    assert planned(a, output=str(out / "x.mkv")) == [(a, out / "x.mkv")]
    assert planned(a, output=str(out)) == [(a, out / "a.mp4")]
    assert planned(a, output=f"{out}.d/") == [(a, folder.parent / "out.d" / "a.mp4")]
    out.with_suffix(".d").mkdir()
    assert planned(a, output=f"{out}.d") == [(a, folder.parent / "out.d" / "a.mp4")]
    for wrong in (str(a), str(folder.parent / "new.mp4")):
        with pytest.raises(UsageError, match="name a folder"):
            planned(folder, output=wrong)
    with pytest.raises(UsageError, match="no video"):
        planned()


def test_names_of_outputs(folder: Path) -> None:
    a, b, c, d = (folder / name for name in ("a.mp4", "b.MKV", "c.png", "d.gif"))
    beside = [(x, folder / name) for x, name in ((a, "a_x.mp4"), (b, "b_x.mp4"), (c, "c_x.png"))]
    assert planned(folder, suffix="_x")[:3] == beside
    out = folder.parent / "out"
    assert planned(d, output=str(out))[0][1].suffix in (".gif", ".mp4")
    named = [dst.name for _, dst in planned(folder, output=str(out), recursive=True)]
    assert named[:3] == ["a.mp4", "b.mp4", "c.png"] and len(named) == 5
    assert planned(folder, output=str(out), recursive=True)[-1][1] == out / "sub" / "e.mp4"
    numbered = planned(folder, output=str(out), name="sequential", suffix="-n")
    assert [dst.stem for _, dst in numbered] == [f"00000{i}-n" for i in range(1, 5)]
    hashed = planned(a, output=f"{out}/", name="hash")
    assert hashed[0][1].stem == file_digest(a)[:16]
    copy = folder.parent / "copy.mkv"
    copy.write_bytes(a.read_bytes())
    stems = [dst.stem for _, dst in planned(a, copy, output=f"{out}/", name="hash")]
    assert stems == [file_digest(a)[:16], f"{file_digest(a)[:16]}-2"]
    assert planned(a, codec="ffv1")[0][1].suffix == ".mkv"


def test_all_kinds_of_video_and_image_are_found_in_a_folder(tmp_path: Path) -> None:
    videos = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts vob ogv flv wmv asf 3gp gif"
    images = "png jpg jpeg bmp webp tif tiff"
    for number, name in enumerate([*videos.split(), *images.split(), "txt", "json", "wav"]):
        (tmp_path / f"{number}.{name.upper() if number % 2 else name}").write_bytes(b"")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    (tmp_path / "0_anonymized.mp4").write_bytes(b"")
    found = [src.suffix[1:].lower() for src, _ in planned(tmp_path)]
    assert sorted(found) == sorted([*videos.split(), *images.split()])


def test_a_file_of_a_folder_stands_where_it_lies_and_links_to_it_add_nothing(
    folder: Path,
) -> None:
    (folder / "0.avi").symlink_to(folder / "sub" / "e.avi")
    (folder / "linked").symlink_to(folder / "sub")
    (folder / "far.mp4").symlink_to(folder.parent / "far.mp4")
    (folder.parent / "far.mp4").write_bytes(b"")
    found = [src.relative_to(folder).as_posix() for src, _ in planned(folder, recursive=True)]
    assert "sub/e.avi" in found and "far.mp4" in found
    assert not {"0.avi", "linked/e.avi"} & {*found}


def test_a_file_named_twice_is_done_once_and_a_folder_may_be_one_video(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = folder / "a.mp4"
    (folder.parent / "link.mp4").symlink_to(a)
    assert [src for src, _ in planned(a, folder.parent / "link.mp4", a)] == [a]
    assert [src for src, _ in planned(folder / "*.mp4", folder / "sub")] == [
        a,
        folder / "sub" / "e.avi",
    ]
    ((src, dst),) = planned(folder, sequence=True)
    assert src == folder and dst == folder.parent / "in_anonymized.mp4"
    pictures = folder.parent / "pictures.png"  # a folder, whatever it is called
    pictures.mkdir()
    ((_, dst),) = planned(pictures, sequence=True)
    assert dst == folder.parent / "pictures.png_anonymized.mp4"
    monkeypatch.chdir(pictures)
    for name, made in ((".", "pictures.png"), ("..", folder.parent.name)):
        assert planned(Path(name), sequence=True)[0][1].name == f"{made}_anonymized.mp4"
    star = folder / "[x].mp4"  # a file that is called like a pattern is that file
    star.write_bytes(b"")
    assert planned(star)[0][0] == star


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"suffix": "/../evil"}, "--suffix is put behind names"),
        ({"suffix": "_x\0", "output": "out/"}, "--suffix is put behind names"),
        ({"suffix": "_x", "output": "out.mp4"}, "names the file: leave --suffix out"),
        ({"name": "hash", "output": "out.mp4"}, "names the file: leave --name out"),
        ({"name": "sequential", "output": "out.mp4"}, "names the file: leave --name out"),
    ],
)
def test_a_suffix_or_a_naming_that_would_not_be_followed_is_refused(
    folder: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        planned(folder / "a.mp4", **settings)


def test_what_an_earlier_run_wrote_into_the_folder_is_no_input(folder: Path) -> None:
    """Else a run over a folder could not be repeated."""
    first = planned(folder, suffix="_x")
    reports = folder / "reports"
    reports.mkdir()
    for number, (_, dst) in enumerate(first):
        dst.write_bytes(b"made")
        beside = reports if number else folder  # as --report has it
        (beside / f"{dst.name}.receipt.json").write_bytes(b"{}")
    assert planned(folder, suffix="_x", beside=[reports]) == first
    source = folder / "a_2.mp4"  # beside a.mp4, and of no run
    source.write_bytes(b"")
    assert source in dict(planned(folder, suffix="_2"))
    assert first[0][1] in dict(planned(first[0][1], suffix="_x")), "whoever names it means it"


def test_folders_of_masks_inside_the_input_are_not_searched(folder: Path) -> None:
    masks, out = folder / "masks", str(folder / "safe")
    first = planned(folder, output=out, recursive=True, beside=[masks])
    masks.mkdir()
    (masks / "a.mp4.mkv").write_bytes(b"made")
    assert planned(folder, output=out, recursive=True, beside=[masks]) == first
    assert len(planned(folder, output=out, recursive=True)) == len(first) + 1
    assert planned(masks, output=out, beside=[folder]), "the folder that is named is searched"


def test_two_of_one_name_keep_their_endings_or_are_refused(folder: Path) -> None:
    twin = folder / "a.avi"
    twin.write_bytes(b"twin")
    out = folder.parent / "out"
    found = dict(planned(folder / "a.mp4", twin, folder / "b.MKV", output=str(out)))
    assert [path.name for path in found.values()] == ["a.mp4.mp4", "a.avi.mp4", "b.mp4"]
    for suffix, name in ((None, "a.avi_anonymized.mp4"), ("_x", "a.avi_x.mp4")):
        first = planned(folder, suffix=suffix)
        assert folder / name in [dst for _, dst in first]
        for _, dst in first:
            dst.write_bytes(b"made")
            dst.with_name(dst.name + ".receipt.json").write_text("{}")
        assert planned(folder, suffix=suffix) == first, "what a run made is no source of the next"
        for _, dst in first:
            dst.unlink()
    other = folder / "sub" / "a.mp4"
    other.write_bytes(b"other")
    with pytest.raises(UsageError, match="would both become"):
        planned(folder / "a.mp4", other, output=str(out))


def test_each_file_of_a_batch_has_its_own_exports(tmp_path: Path) -> None:
    one, two = FileTask(Path("a"), tmp_path / "a.mp4"), FileTask(Path("b"), tmp_path / "b.mp4")
    config = PipelineConfig(report=Path("r"), export_boxes=Path("x"), export_masks=Path("m"))
    assert config_of(one, config, [one]) == config
    own = config_of(two, config, [one, two])
    assert own.report == Path("r/b.mp4.receipt.json") == receipt_path(two.dst, own)
    assert (own.export_boxes, own.export_masks) == (Path("x/b.mp4.boxes.json"), Path("m/b.mp4.mkv"))
    plain = PipelineConfig(export_masks=Path("m"))
    assert config_of(one, plain, [one, two]) == replace(plain, export_masks=Path("m/a.mp4.mkv"))
    assert receipt_path(one.dst, plain) == tmp_path / "a.mp4.receipt.json"
    assert one.outputs(config) == [one.dst, Path("x"), Path("m"), Path("r")]
    assert one.outputs(replace(config, shadow=True)) == [Path("x"), Path("m"), Path("r")]
    assert one.outputs(replace(config, receipt=False)) == [one.dst, Path("x"), Path("m")]
    shadow = PipelineConfig(receipt=False, shadow=True)  # which would else do nothing
    assert one.outputs(shadow) == [receipt_path(one.dst, shadow)]


def test_what_is_read_is_never_replaced(folder: Path) -> None:
    a, b, out = folder / "a.mp4", folder / "b.MKV", folder.parent / "o.mp4"
    weights, plain = folder / "sub", PipelineConfig()

    def check(dst: Path, config: PipelineConfig = plain, **more: Any) -> None:
        check_outputs([FileTask(a, dst)], config, **more)

    check(out)
    check(b)  # it is there, and may be replaced
    with pytest.raises(UsageError, match="exists already"):
        check(b, overwrite=False)
    with pytest.raises(UsageError, match="is read"):
        check(a)
    for config in (
        PipelineConfig(region=b),
        PipelineConfig(regions="templates:x", key_weights=b),
        PipelineConfig(regions=f"boxes:{b}"),
    ):
        with pytest.raises(UsageError, match="is read"):
            check(b, config)
    colon = folder / "x:y.mp4"
    colon.write_bytes(b"boxes")
    with pytest.raises(UsageError, match="is read"):
        check(colon, PipelineConfig(regions=f"boxes:{colon}"))
    check(b, PipelineConfig(regions=f"templates:{b}"))  # a name of a template, no file
    for inputs in ([b], [folder]):
        with pytest.raises(UsageError, match="is read"):
            check(b, inputs=inputs)
    check(b, inputs=[weights])
    os.link(a, folder.parent / "hard.mp4")
    with pytest.raises(UsageError, match="is read"):
        check(folder.parent / "hard.mp4")
    with pytest.raises(UsageError, match="two outputs"):
        check_outputs([FileTask(a, out), FileTask(b, out)], plain)
    with pytest.raises(UsageError, match="is a folder; name a file, or end the name with a slash"):
        check(folder)
    check(out, replace(plain, report=folder))  # in which it is named after the output
    (folder / f"{out.name}.receipt.json").mkdir()
    with pytest.raises(UsageError, match=r"is a folder; name a file\.$"):
        check(out, replace(plain, report=folder))
    picture = folder / "c.png"
    with pytest.raises(UsageError, match="is read"):  # a picture of a folder that is one video
        check_outputs([FileTask(folder, picture)], plain)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        ([2], 1),
        ([2, 2], 1),
        ([3], 3),
        ([3, 3], 3),
        ([4, 3, 1], 4),
        ([1, 3], 3),
        ([1, 2], 1),
        ([1], 1),
    ],
)
def test_many_outcomes_have_one_exit_code(codes: list[int], expected: int) -> None:
    task = FileTask(Path("a"), Path("b"))
    done = [FileOutcome(task, "done"), FileOutcome(task, "skipped")]
    assert (
        exit_code([*done, *(FileOutcome(task, "failed", "", code) for code in codes)]) == expected
    )


def pipeline(**settings: Any) -> Pipeline:
    return Pipeline(masquerade.build("blacken"), PipelineConfig(**settings), object())


def test_finished_is_what_has_its_receipt(folder: Path) -> None:
    task = FileTask(folder / "a.mp4", folder / "b.MKV")
    own = pipeline(preview=1.0)
    whole = {
        "receipt": VERSION,
        "settings_sha256": own.fingerprint(),
        "source": {"sha256": file_digest(task.src)},
        "output": {"sha256": file_digest(task.dst)},
        "settings": own.settings(),
        "versions": {"masquerade": masquerade.__version__},
        "code_sha256": code_digest(CODE),
    }
    path = receipt_path(task.dst, own.config)
    assert not is_finished(task, own)
    path.write_text(json.dumps(whole))
    assert is_finished(task, own) and not is_finished(task, pipeline(preview=2.0))
    wrong: tuple[Any, ...] = (
        {**whole, "settings_sha256": "0"},
        {**whole, "source": {"sha256": "0"}},
        {**whole, "output": {"sha256": "0"}},
        {**whole, "output": None},
        {key: value for key, value in whole.items() if key != "source"},
        [],
        "x",
    )
    for each in wrong:
        path.write_text(json.dumps(each))
        assert not is_finished(task, own)
    path.write_text("{")
    assert not is_finished(task, own)
    path.write_text(json.dumps({**whole, "receipt": VERSION + 1}))
    assert not is_finished(task, pipeline(preview=1.0, overwrite=True))
    with pytest.raises(UsageError, match="cannot be resumed"):
        is_finished(task, own)


def test_outcomes_say_how_each_file_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: dict[str, Any] = {
        "a.mp4": VideoError("no video."),
        "b.MKV": OutputError("raw."),
        "c.png": MemoryError(),
        "d.gif": ZeroDivisionError("by zero\nand more"),
    }
    asked: list[Any] = []

    def run_file(src: Path, dst: Path, own: Pipeline, *, progress: Any = None) -> Any:
        asked.append((src.name, own.config.report, progress))
        if src.name in errors:
            raise errors[src.name]
        return "receipt"

    monkeypatch.setattr(file_outcome, "run_file", run_file)
    tasks = plan_tasks([str(folder)], output=str(folder.parent / "out"), recursive=True)
    own = pipeline(report=folder.parent / "r")
    found = list(anonymize_batch(tasks, own, progress=lambda task: task.src.name))  # type: ignore[arg-type,return-value]
    assert [one.task for one in found] == tasks
    assert [(one.status, one.exit_code) for one in found] == [
        ("failed", 1),
        ("failed", 4),
        ("failed", 1),
        ("failed", 1),
        ("done", 0),
    ]
    assert [one.error for one in found[:2]] == ["no video.", "raw."] and "memory" in found[2].error
    assert "ZeroDivisionError: by zero" in found[3].error and "and more" not in found[3].error
    assert [one.receipt for one in found] == [None] * 4 + ["receipt"]
    names = [task.src.name for task in tasks]
    reports = [folder.parent / "r" / f"{task.dst.name}.receipt.json" for task in tasks]
    assert asked == list(zip(names, reports, names, strict=True))
    errors.clear()
    tasks[1].dst.parent.mkdir(exist_ok=True)
    tasks[1].dst.write_bytes(b"there")
    status = [one.status for one in anonymize_batch(tasks, own, skip_existing=True)]
    assert sorted(status) == ["done"] * 4 + ["skipped"]
    assert [one.status for one in anonymize_batch(tasks, own, resume=True)] == ["done"] * 5
    reports[2].parent.mkdir()
    reports[2].write_text(json.dumps({"receipt": VERSION + 1}))
    again = {one.task: one for one in anonymize_batch(tasks, own, resume=True)}
    other = again.pop(tasks[2])
    assert (other.status, other.exit_code) == ("failed", 2) and "--overwrite" in other.error
    assert {one.status for one in again.values()} == {"done"} and len(again) == 4


def test_what_a_receipt_keeps_of_the_settings() -> None:
    config = PipelineConfig(
        seed=3,
        report=Path("/r/a"),
        export_boxes=Path("/b"),
        export_masks=Path("/m"),
        overwrite=True,
        region=Path("/x/region.png"),
        regions="boxes:/x/boxes.json",
        crf=20,
    )
    kept = config.as_dict()
    assert not {"seed", "report", "export_boxes", "export_masks", "overwrite"} & set(kept)
    assert (kept["region"], kept["regions"], kept["crf"]) == ("region.png", "boxes:boxes.json", 20)
    assert kept["key_weights"] is None
    other = PipelineConfig(regions="templates:a", key_weights=Path("/w/k.pt")).as_dict()
    assert other["key_weights"] == "k.pt" and PipelineConfig().as_dict()["regions"] == "people"
    prints = {pipeline(**one).fingerprint() for one in ({}, {"crf": 1}, {"seed": 1}, {"seed": 2})}
    assert len(prints) == 3 and pipeline().fingerprint() in prints  # a seed is told by no hash


def raise_missing() -> None:
    raise MissingError("it was not trained.")


def test_default_regions_follow_the_method() -> None:
    def method(**about: Any) -> Any:
        flags = "full_frame", "regions_only", "learned", "needs_people", "shows_nobody"
        plain = dict.fromkeys(flags, False)
        return SimpleNamespace(**{**plain, **about, "check_trained": lambda: None})

    image = Path("m.png")
    plain, learned, only = method(), method(learned=True), method(regions_only=True)
    cases: list[tuple[Any, dict[str, Any], str | None]] = [
        (plain, {}, "people"),
        (plain, {"regions": "faces"}, "faces"),
        (plain, {"region": image}, "people"),
        (plain, {"detector": "centerface"}, "faces"),
        (plain, {"detector": "hog"}, "people"),
        (learned, {}, "frame"),
        (learned, {"regions": "faces"}, "faces"),
        (only, {}, "people"),
        (only, {"regions": "frame"}, "people"),
        (only, {"regions": "faces"}, "faces"),
        (only, {"regions": "frame", "region": image}, "frame"),
        (method(full_frame=True, learned=True), {}, "frame"),
        (method(full_frame=True), {"regions": "frame"}, "frame"),
    ]
    for anonymizer, settings, expected in cases:
        config = PipelineConfig(**settings)
        assert with_default_regions(config, anonymizer) == replace(config, regions=expected)
    for settings in (
        {"regions": "faces"},
        {"region": image},
        {"regions": "frame", "region": image},
    ):
        with pytest.raises(UsageError, match="rewrites whole frames"):
            with_default_regions(PipelineConfig(**settings), method(full_frame=True))
    untrained = method()
    untrained.check_trained = raise_missing
    with pytest.raises(MissingError):
        with_default_regions(PipelineConfig(), untrained)


def test_settings_reach_the_encoder_and_the_region_source() -> None:
    config = PipelineConfig(codec="av1", crf=3, encoder_preset="8", hwaccel="none")
    encoding = encoding_for(config, threads=2)
    assert (encoding.codec, encoding.crf, encoding.preset) == ("av1", 3, "8")
    assert (encoding.hwaccel, encoding.threads, encoding.bitrate) == ("none", 2, None)
    assert encoding_for(PipelineConfig(codec="ffv1", lossless=True)).lossless
    assert encoding_for(PipelineConfig(bitrate="1.5k")).bitrate == 1500
    assert encoding_for(PipelineConfig(hwaccel="cuda")).hwaccel == "cuda"
    assert source_names(PipelineConfig(regions="faces+boxes:x+y")) == ["faces", "boxes"]
    assert source_names(PipelineConfig()) == ["people"]
    ((name, arguments),) = region_arguments(
        PipelineConfig(regions="templates:a,,b", keys="colour-hog")
    )
    assert name == "templates" and arguments["templates"] == ("a", "b")
    assert arguments["keys"] == "colour-hog" and isinstance(arguments["device"], str)
    several = dict(
        region_arguments(PipelineConfig(regions="templates+faces+parts:head,,hands", at=("3:1,2",)))
    )
    assert several["templates"]["templates"] == () and several["parts"]["parts"] == (
        "head",
        "hands",
    )
    assert "parts" not in several["faces"] and "templates" not in several["parts"]
    with pytest.raises(UsageError, match="--min-size"):
        PipelineConfig(min_size=20.5, max_size=20)
    PipelineConfig(min_size=20, max_size=20)
