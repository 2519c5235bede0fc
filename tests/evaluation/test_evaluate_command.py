"""`masquerade evaluate`: its options, refusals and output."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scenes

from masquerade.checkpoint import save
from masquerade.cli import anonymize as anonymize_verb
from masquerade.cli.arguments import command_to_keep
from masquerade.cli.evaluate import (
    Options,
    config_of,
    data_name,
    main,
    method_row,
    method_rows,
    parse,
    pipeline_config,
    write_results,
)
from masquerade.datasets.manifest import read_manifest
from masquerade.errors import MasqueradeError, MissingError, OutputError, UsageError
from masquerade.evaluation import Evaluation, EvaluationConfig, from_json
from masquerade.evaluation.evaluated_clips import RAW
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.executor import REGRESSING, TRAINING
from masquerade.extraction.config import UnionFactory, describe_factory, region_names
from masquerade.extraction.extract_dataset import store_name
from masquerade.file_locks import claim_folder
from masquerade.methods import build
from masquerade.pipeline.config import REGION_ARGUMENTS, FileConfig, PipelineConfig, RegionConfig
from masquerade.regions import REGIONS
from masquerade.regions.key_extractors import build_key_extractor
from masquerade.regions.template import make_template
from masquerade.regions.template_library import Library
from masquerade.report.benchmark_page import write_report


def test_regions_are_joined_as_anonymize_joins_them() -> None:
    joined = method_row("blur", build("blur"), PipelineConfig(regions="people+frame")).regions
    assert isinstance(joined, UnionFactory) and region_names(joined) == ["people", "frame"]
    assert [type(one) for one in joined().sources] == [REGIONS["people"], REGIONS["frame"]]
    name, given = describe_factory(pickle.loads(pickle.dumps(joined)))
    assert (name, given) == describe_factory(joined)
    assert name.endswith("WholeFrame") and any(key.startswith("0 ") for key in given)
    motion = PipelineConfig(regions="people+frame", detector="motion")
    other = method_row("blur", build("blur"), motion).regions
    assert describe_factory(other) != describe_factory(joined)


@pytest.mark.parametrize("regions", ["people+feet", "boxes+people", "people+boxes"])
def test_regions_that_make_no_sense_together_are_refused(regions: str) -> None:
    with pytest.raises(UsageError):
        method_row("blur", build("blur"), PipelineConfig(regions=regions))


def test_a_folder_that_takes_no_results_is_refused_before_any_work(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    words = ["--data", str(folder / "clips.csv"), "--method", "blur", "-o"]
    for place in ("file", "file/below"):
        with pytest.raises(UsageError, match="choose another -o"):
            main([*words, str(tmp_path / place)])


def test_a_folder_is_not_made_for_what_is_refused(folder: Path, tmp_path: Path) -> None:
    words = ["--method", "blur", "-o", str(tmp_path / "new"), "--data"]
    for more in (["gone.csv"], [str(folder / "clips.csv"), "--regions", "feet"]):
        with pytest.raises(UsageError):
            main([*words, *more])
    assert not (tmp_path / "new").exists()


def test_a_folder_in_which_another_evaluation_works_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    words = ["--data", str(folder / "clips.csv"), "--method", "blur", "-o", str(tmp_path)]
    with (
        claim_folder(tmp_path, ""),
        pytest.raises(UsageError, match="another evaluation is at work"),
    ):
        main(words)


@pytest.mark.parametrize(
    ("other", "title"), [(None, "mimes"), (Path("vispr/manifest.csv"), "mimes and vispr")]
)
def test_data_is_called_by_a_name_that_tells(other: Path | None, title: str) -> None:
    """`masquerade data` calls every manifest manifest.csv."""
    assert data_name(Options(data=Path("mimes/manifest.csv"), private_data=other)) == title
    assert data_name(Options(data=Path("kth/clips.csv"))) == "clips"


def test_a_full_disk_leaves_no_results(
    evaluation: Evaluation,
    tmp_path: Path,
    full_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    with full_after(3000), pytest.raises(MasqueradeError, match="cannot be written: File too"):
        write_results(evaluation, tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_utf_8_are_escaped_in_results(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    """They were refused once all attacks were done."""
    name = os.fsdecode(b"klinik_\xe4")
    command = command_to_keep("evaluate", ["--data", f"/me/{name}.csv"])
    assert command == r"masquerade evaluate --data 'klinik_\udce4.csv'"
    for data in (name, "klinik"):
        result = replace(evaluation, data=data, command=command, limits=(f"of {name}",))
        write_results(result, tmp_path, more=name, others={"other.md": name})
        text = (tmp_path / "results.json").read_text("utf-8")
        assert from_json(text) == result
        assert r"of klinik_\udce4" in (tmp_path / "results.md").read_text("utf-8")
        assert (tmp_path / "other.md").read_text("utf-8") == r"klinik_\udce4"
        write_report(tmp_path / "report", [result], title=name)
        page = (tmp_path / "report" / "index.html").read_text("utf-8")
        assert r"of klinik_\udce4" in page and (r"\udce4.csv" in page)


@pytest.mark.slow
def test_above_the_store_limit_clips_are_made_on_the_fly(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (folder / "clips.csv").read_text().splitlines()
    few = folder / "few.csv"
    few.write_text("\n".join(line for line in lines if "_1.mkv" not in line) + "\n")
    words = ["--data", str(few), "--method", "blur", "--preset", "quick"]
    words += ["--folds", "2", "--seeds", "1", "--workers", "1", "--attackers", "scratch"]
    results = []
    for name, limit in (("stored", "1"), ("made", "0")):
        main([*words, "--store-limit", limit, "-o", str(tmp_path / name)])
        result = json.loads((tmp_path / name / "results.json").read_text())
        del result["command"]
        for row in result["rows"]:
            del row["cpu_seconds"]
        results.append(result)
    assert results[0] == results[1]
    printed = capsys.readouterr().err
    shape = r"clips: \d+ x \d+ x \d+ x \d+, [\d.]+ MB"
    assert len(re.findall(rf"{shape} in .*stored", printed)) == 2  # raw and blurred
    assert (
        len(re.findall(rf"{shape}, more than the 0.0 MB .*: they are made on the fly", printed))
        == 2
    )
    assert list(tmp_path.glob("stored/clips/*/clips.bin")) and not list(
        tmp_path.glob("made/clips/*/clips.bin")
    )


def test_the_command_end_to_end(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(folder / "clips.csv"), "--method", "blur", "--kernel", "13"]
    words += [
        "--folds",
        "2",
        "--seeds",
        "1",
        "--workers",
        "1",
        "--preset",
        "quick",
        "--held-out",
        "pairs",
        "-o",
        str(tmp_path),
        "--json",
    ]
    code = main(words)
    result = from_json(capsys.readouterr().out)
    assert code == (1 if result.void else 0)
    assert result.rows[1].name == "blur" and result.rows[1].arguments["kernel"] == 13
    assert from_json((tmp_path / "results.json").read_text()) == result
    table = (tmp_path / "results.md").read_text()
    assert table.startswith("# clips") and "pairs unseen" in table and "people unseen" not in table
    command = json.loads(result.to_json())["command"]
    assert command.startswith("masquerade evaluate --data") and str(tmp_path) not in command


@pytest.mark.slow
def test_videos_that_anonymize_would_not_publish_are_refused_before_any_attack(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight frames are too few to know the background, so that all of them are hidden whole."""
    words = ["--data", str(folder / "clips.csv"), "--method", "blacken", "--regions", "people"]
    words += ["--detector", "motion", "--preset", "quick", "--folds", "2", "--seeds", "1"]
    words += ["--workers", "1", "--attackers", "scratch", "--json", "-o", str(tmp_path)]
    with pytest.raises(OutputError, match=r"in 56 of 56 videos .* and 36 more") as caught:
        main(words)
    assert caught.value.exit_code == 4 and "--allow-gaps" in str(caught.value)
    assert not (tmp_path / "fits").exists() and not list(tmp_path.glob("results*"))
    main([*words, "--allow-gaps"])
    result = from_json(capsys.readouterr().out)
    covered = result.rows[1].coverage
    assert result.rows[0].coverage is None and covered is not None
    assert (covered.videos, covered.counts.filled_whole, len(covered.unpublished)) == (56, 448, 56)
    page = (tmp_path / "results.md").read_text()
    assert "56 of these videos `anonymize` would not publish" in page
    assert "hidden in 448 of 448 frames of 56 videos" in page
    leaks = [one.leakage for one in result.rows[1].findings if one.leakage is not None]
    assert leaks and not any(one.protects for one in leaks)  # for nobody's method hid them
    said = {one.undecided for one in result.rows[1].findings} - {None}
    assert said == {"448 of 448 frames were hidden whole, as nothing could be told apart in them"}


def test_weights_of_methods_that_learn_nothing_are_refused(folder: Path, tmp_path: Path) -> None:
    save(build("blur", kernel=5), tmp_path / "0")
    words = ["--data", str(folder / "clips.csv"), "--folds", "2", "--weights"]
    with pytest.raises(UsageError, match="holds blur, which learns nothing: give --method blur"):
        main([*words, str(tmp_path / "0")])
    learned = build("spact", width=2, short=16)
    learned.trained = True
    save(learned, tmp_path / "0")
    save(build("pixelate", block=2), tmp_path / "1")
    with pytest.raises(UsageError, match="1 holds pixelate, which learns nothing"):
        main([*words, str(tmp_path / "{fold}")])


def test_the_command_refuses_contradictory_options(folder: Path) -> None:
    data = ["--data", str(folder / "clips.csv")]
    with pytest.raises(UsageError, match="name a method"):
        main(data)
    with pytest.raises(UsageError, match="no method"):
        main([*data, "--method", "blurr"])
    with pytest.raises(UsageError, match="--folds"):
        main([*data, "--method", "blur", "--folds", "1"])


def test_an_evaluation_says_what_it_is_about_to_do(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder / "clips.csv")
    config = EvaluationConfig(attackers=("scratch", "raw"), folds=2, seeds=3)
    run = Evaluator(manifest, config, tmp_path, None)
    line = method_row("blur", build("blur"), PipelineConfig(regions="frame"))
    said = run.plan([line])
    found = re.match(r"About to anonymize (\d+) videos by blur, to train (\d+) .* and (\d+)", said)
    assert found is not None
    videos, raw, own = map(int, found.groups())
    fits = 3 * 2 * len(run.truth.protocols)  # seeds, folds
    assert videos == len(manifest) and not raw % fits and not own % fits and 0 < raw < own


def test_networks_are_counted_as_they_are_reported(folder: Path, tmp_path: Path) -> None:
    """So that the time that is left is judged by what takes nearly all of it."""
    steps: dict[str, int] = {}

    def count(what: str, done: int, of: int) -> None:
        steps[what] = of

    config = replace(scenes.CONFIG, preset="small", attackers=("scratch", "motion"), folds=2)
    run = Evaluator(read_manifest(folder / "clips.csv"), config, tmp_path, count)
    assert run.raw.predictions is not None
    networks, every = run.networks_of(RAW), run.attackers_of(RAW)
    assert steps[f"raw: {TRAINING}"] == networks and 0 < networks < every
    assert steps[f"raw: {REGRESSING}"] == every - networks


def black_share(folder: Path, into: Path, *words: str) -> float:
    """How much of the clips that attackers would see is black."""
    given = ["--data", str(folder / "clips.csv"), "--method", "blacken", *scenes.FAST, *words]
    options, method = parse([*given, "--allow-empty", "--allow-gaps"])
    manifest = read_manifest(options.data).take([0, 1])
    line = method_row("blacken", method, pipeline_config(options))
    run = Evaluator(read_manifest(options.data), config_of(options), into, None)
    run.clips.manifest = manifest
    clips = np.stack([np.asarray(clip) for clip in run.clips.of(line, method)])  # (N, 3, T, H, W)
    return float((clips == 0).all(axis=1).mean())


def test_templates_and_their_keys_are_evaluated(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template of the bright square: all of it is found, and more of the rest by a low floor."""
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "templates"))
    keys, picture = build_key_extractor("colour-hog"), scenes.frames("down", 0, seed=0)[0]
    y, x = np.argwhere((picture == 250).all(axis=2)).mean(axis=0)
    Library().add(make_template("square", picture, [(x, y)], keys, image="scene"))
    words = ["--regions", "templates:square", "--keys", "colour-hog", "--combine", "mean"]
    some = black_share(folder, tmp_path, *words, "--threshold", "0.5")
    assert 0 < some < 1
    assert black_share(folder, tmp_path, *words, "--threshold", "0.5", "--grow", "9") > some
    assert black_share(folder, tmp_path, *words, "--floor", "1") == 1
    with pytest.raises(MissingError, match="give --key-weights FILE"):
        black_share(folder, tmp_path, *words, "--keys", "dino-s8")


def test_boxes_are_evaluated_as_anonymize_hides_them(folder: Path, tmp_path: Path) -> None:
    file, every = tmp_path / "boxes.json", range(scenes.FRAMES)
    boxes = {str(number): [{"box": [8, 8, 24, 24], "score": 0.9}] for number in every}
    file.write_text(json.dumps({"version": 1, "width": 32, "height": 32, "frames": boxes}))
    words = ["--regions", f"boxes:{file}", "--mask-scale", "1"]
    assert black_share(folder, tmp_path, *words, "--shape", "box") == (16 / 32) ** 2
    assert black_share(folder, tmp_path, *words, "--shape", "ellipse") != (16 / 32) ** 2
    motion = ["--regions", "people", "--detector", "motion"]  # too short a video to tell: all
    assert black_share(folder, tmp_path, *motion) == 1


def test_an_image_says_where_clips_are_hidden(folder: Path, tmp_path: Path) -> None:
    """As in `anonymize`; clips of another size are left out, and it is named under the table."""
    image, other = tmp_path / "left.png", tmp_path / "small.png"
    left = np.zeros((32, 32), np.uint8)
    left[:, :8] = 255
    cv2.imwrite(str(image), left)
    cv2.imwrite(str(other), left[:16])
    words = ["--regions", "frame", "--region"]
    assert black_share(folder, tmp_path, *words, str(image)) == 8 / 32
    assert black_share(folder, tmp_path, *words[:2]) == 1, "clips with it are others"
    with pytest.raises(MasqueradeError, match=r"of --region is 32x16, but .* is 32x32: give --reg"):
        black_share(folder, tmp_path, *words, str(other))
    given = ["--data", str(folder / "clips.csv"), "--method", "blacken", *words, str(image)]
    options, method = parse(given)
    manifest = read_manifest(options.data)
    lines, notes = method_rows(options, method, manifest, config_of(options))
    plain = method_row("blacken", method, PipelineConfig(regions="frame"))
    (again,), _ = method_rows(options, method, manifest, config_of(options))
    (cover,) = (line.cover for line in lines)
    assert cover == again.cover and hash(cover) == hash(again.cover) and cover != plain.cover
    assert cover is not None and cover != cover._replace(within=None)
    assert notes == ("blacken: nothing is hidden where left.png (--region) is black.",)


def test_whatever_says_where_people_are_is_taken_as_anonymize_takes_it() -> None:
    """The options of regions and masks are those of `anonymize`, but for what is of one video."""
    mine = {field.name for field in fields(Options)}
    assert {*REGION_ARGUMENTS, "shape", "mask_scale", "feather"} - mine == {
        *("at", "keep_visible", "hide_only")
    }
    words = ["--data", "clips.csv", "--method", "blur", "--regions", "people", "--detector", "hog"]
    options, method = parse([*words, "--gap", "9", "--no-track", "--shape", "box"])
    line = method_row("blur", method, pipeline_config(options))
    assert describe_factory(line.regions)[1]["track"] is False and line.cover is not None
    assert line.cover.shape == "box" and line.cover.scale == PipelineConfig().mask_scale
    with pytest.raises(UsageError, match="does not take --keys"):
        method_row("blur", method, pipeline_config(replace(options, keys="dino-s8")))


NOT_OF_DATASETS = {
    **dict.fromkeys(("preview", "salvage", "sequence", "cfr"), "the manifest names the frames"),
    **dict.fromkeys(("keep_visible", "hide_only", "edits", "at", "list_people"), "of one video"),
    **dict.fromkeys(("hide", "replacewith"), "short for --regions templates:..., --method"),
    "seed": "each video has its own stream, which follows from its content",
    "force_8bit": "attackers see 8 bits",
    "verify": "what it refuses, attackers find",
    **dict.fromkeys(("audio", "keep_audio", "metadata", "keep_metadata"), "no attacker reads it"),
    **dict.fromkeys(("batch_size", "decoder", "threads", "parts"), "the same pixels, sooner"),
    **dict.fromkeys(("engine", "address"), "where it runs"),
    **dict.fromkeys(
        ("inputs", "recursive", "suffix", "name", "skip_existing", "resume", "overwrite", "record"),
        "which files are read and written",
    ),
    **dict.fromkeys(
        ("receipt", "report", "public_receipt", "export_boxes", "export_masks", "shadow"),
        "files beside the published one",
    ),
    **dict.fromkeys(("dry_run", "quiet", "verbose", "profile", "no_progress"), "what is printed"),
}
"""Options of `anonymize` that `evaluate` lacks, and why."""
OF_ATTACKERS = {"preset", "amp"}
"""Options that are the attackers' here: of the method are --method-preset, and full precision."""


def test_what_changes_the_output_of_anonymize_is_an_option_here() -> None:
    """A new option of `anonymize` is either taken here too, or listed with the reason."""
    theirs = {field.name for field in fields(anonymize_verb.Options)}
    mine = {field.name for field in fields(Options)}
    assert theirs - mine == set(NOT_OF_DATASETS)
    taken = {field.name for kind in (RegionConfig, FileConfig) for field in fields(kind)}
    named = {"level", "method", "weights", "region", "device", "allow_empty", "allow_gaps"}
    alike = {"output", "workers", "json"}  # that say nothing of what is published
    assert theirs & mine == taken | named | alike | OF_ATTACKERS


@pytest.mark.parametrize(
    ("level", "method", "regions"),
    [("face", "selective", "faces"), ("person", "selective", "people")],
)
def test_a_level_is_the_method_and_regions_of_anonymize(
    level: str, method: str, regions: str
) -> None:
    options, made = parse(["--data", "clips.csv", "--level", level])
    line = method_row(method, made, pipeline_config(options))
    assert type(made) is type(build(method)) and region_names(line.regions) == [regions]
    for more in (["--method", "blur"], ["--regions", "frame"]):
        with pytest.raises(UsageError, match="--level chooses regions and a method"):
            parse(["--data", "clips.csv", "--level", level, *more])


@pytest.mark.parametrize(
    "words",
    ["--codec vp9", "--crf 40", "--encoder-preset fast", "--lossless", "--bitrate 80k",
     "--noise-qoffset 0", "--hwaccel cuda", "--size model"],
)  # fmt: skip
def test_options_of_files_are_refused_where_no_file_is_attacked(words: str) -> None:
    given = ["--data", "clips.csv", "--method", "blur", *words.split()]
    with pytest.raises(UsageError, match=f"{words.split()[0]} is of files.* --through-file too"):
        parse(given)
    options, _ = parse([*given, "--through-file"])
    assert pipeline_config(options).file != FileConfig()


def test_contradictions_of_encoders_are_refused_before_any_work() -> None:
    given = ["--data", "clips.csv", "--method", "blur", "--through-file"]
    with pytest.raises(UsageError, match="exclude each other"):
        parse([*given, "--crf", "40", "--lossless"])
    options, method = parse([*given, "--encoder-preset", "hasty"])
    with pytest.raises(UsageError, match="refuses the preset hasty"):
        method_row("blur", method, pipeline_config(options))


def test_attackers_see_the_file_that_was_asked_for(folder: Path, tmp_path: Path) -> None:
    """At low quality frames are others; raw video's file stays, and clips are no older ones."""
    run: dict[str, np.ndarray] = {}
    names: set[str] = set()
    for quality in ("20", "51"):
        given = ["--data", str(folder / "clips.csv"), "--method", "pixelate", *scenes.FAST]
        options, method = parse([*given, "--through-file", "--crf", quality])
        line = method_row("pixelate", method, pipeline_config(options))
        one = Evaluator(read_manifest(options.data), config_of(options), tmp_path, None)
        one.clips.manifest = one.manifest.take([0])
        run[quality] = np.asarray(one.clips.of(line, method)[0]).astype(int)
        run[f"raw {quality}"] = np.asarray(one.clips.of(RAW, None)[0]).astype(int)
        names.add(store_name(one.clips._config(line, method, ("frames", None))))
    assert np.abs(run["20"] - run["51"]).mean() > 1 and len(names) == 2
    assert np.array_equal(run["raw 20"], run["raw 51"])


@pytest.mark.parametrize("name", ["attackers", "labels", "metrics", "recognizers", "lambdas"])
def test_an_empty_list_is_refused(name: str) -> None:
    options, _ = parse(["--data", "clips.csv", "--method", "blur", f"--{name}", ","])
    with pytest.raises(UsageError, match=f"--{name} names none"):
        config_of(options)


def test_what_a_list_names_twice_is_asked_for_once() -> None:
    words = ["--data", "clips.csv", "--method", "blur", "--lambdas", "0,1,0.0", "--labels", "a,b,a"]
    config = config_of(parse(words)[0])
    assert config.lambdas == (0, 1) and config.labels == ("a", "b")


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ({"command": "masquerade evaluate --method elr"}, "evaluate --method elr` in"),
        ({"command": None}, "The results in"),
        ([], ""),
    ],
)
def test_results_of_another_command_are_named_before_they_are_replaced(
    folder: Path,
    tmp_path: Path,
    there: object,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ended(*_: object, **__: object) -> Evaluation:
        raise MasqueradeError("ended")

    monkeypatch.setattr("masquerade.evaluation.evaluate", ended)
    (tmp_path / "results.json").write_text(json.dumps(there))
    words = ["--data", str(folder / "clips.csv"), "--method", "blur", "-o", str(tmp_path)]
    with pytest.raises(MasqueradeError, match="ended"):
        main(words)
    said = capsys.readouterr().err
    assert told in said and ("will be replaced" in said) == bool(told)
