"""Exported files give what PyTorch gives, or nothing is written and a sentence says why."""

from __future__ import annotations

import inspect
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.cli import main
from masquerade.errors import OutputError, UsageError
from masquerade.export import write
from masquerade.export.graph import MethodGraph
from masquerade.export.recognizer_graph import TRACEABLE, RecognizerGraph
from masquerade.export.write import TOLERANCE, Exported, export
from masquerade.methods import METHODS
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.storage import weights_digest

pytest.importorskip("onnxscript", reason="the onnx extra is not installed")
import onnx
import onnxruntime

REFUSED = {"selective", "skeleton", "mannequin"}
QUICK = {"blacken", "blur", "bdq", "stprivacy"}  # the others are among the slow tests


def graph_of(method: Anonymizer, size: tuple[int, int] = (30, 40)) -> MethodGraph:
    return MethodGraph(method, size=None if method.dynamic_size else size)


def run_file(path: Path, **given: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in given.items()})
    return [np.asarray(each) for each in found]


def exportable() -> list[Any]:
    names = [name for name in METHODS if name not in REFUSED]
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", exportable())
def test_every_other_method_is_a_program_of_pytorch(
    name: str, made: Callable[[str], Anonymizer], tmp_path: Path
) -> None:
    found = export(graph_of(made(name)), tmp_path / "file", format="torch")
    assert found.comparisons >= 4 and found.difference <= TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name not in REFUSED])
def test_every_other_method_is_an_onnx_file(
    name: str, onnx_file: Callable[[str], Exported]
) -> None:
    found = onnx_file(name)
    assert found.comparisons >= 4 and found.difference <= TOLERANCE
    assert [path.name for path in Path(found.path).parent.iterdir()] == ["file.onnx"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_no_graph_can_do_is_refused_with_its_reason(
    name: str, called: Callable[..., Any], tmp_path: Path
) -> None:
    done = called("export", name, "-o", "file.onnx")
    assert done.returncode == 2 and METHODS[name].export_refusal in done.stderr
    assert done.stderr.startswith(f"masquerade: {name} cannot be exported: ")
    assert not list(tmp_path.iterdir())


def test_the_docs_say_which_methods_are_refused() -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if "|" in line}
    assert "refused" in rows["selective"] and "any size" in rows["blacken"]
    for name, method in METHODS.items():
        size = "any size" if method.dynamic_size else "--size"
        wanted = "refused, and why" if method.export_refusal else size
        say = f"docs/export.md, first table: {name} needs a row that says: {wanted}"
        assert name in rows, f"{say} (docs/new-method.md, section 4)"
        assert ("refused" in rows[name]) == bool(method.export_refusal), say
        assert method.dynamic_size == ("any size" in rows[name]), say


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-3d", "tiny-2d", "st-gcn"])
def test_recognizers_are_exported_and_compared(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = export(RecognizerGraph(name, classes=5), tmp_path / "file.onnx")
    assert found.comparisons == 2 and found.difference <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("modality", [name for name in TRACEABLE if name != "frames"])
def test_what_recognizers_are_fed_is_in_the_file(modality: str, tmp_path: Path) -> None:
    graph = RecognizerGraph("tiny-3d", classes=3, modality=modality, frames=6, size=(40, 56))
    found = export(graph, tmp_path / "file.pt2", format="torch")
    assert found.difference <= TOLERANCE


def test_every_recognizer_has_a_row_of_figures() -> None:
    """Made by benchmarks/export_parity.py, which takes a quarter of an hour."""
    text = (Path(__file__).parents[2] / "docs" / "results" / "export.md").read_text()
    for name in RECOGNIZERS:
        assert f"| `{name}` |" in text, name


def test_a_recognizers_file_reads_trained_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = masquerade.models.recognizers.build_recognizer(
        "tiny-3d", heads={"action": 2, "person": 3}, modality="both", widths=(8, 12)
    ).eval()
    torch.save(net.state_dict(), tmp_path / "raw.weights")
    told = {"classes": 5, "weights": tmp_path / "raw.weights", "frames": 6, "size": (24, 32)}
    graph = RecognizerGraph("tiny-3d", **told, modality="both")
    export(graph, tmp_path / "file.pt2", format="torch")
    clip = torch.rand(2, 3, 6, 24, 32)
    (found,) = torch.export.load(tmp_path / "file.pt2").module()(clip=clip)
    expected = torch.cat(list(net(clip).values()), dim=1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert graph.about["weights_sha256"] == weights_digest(net.state_dict())
    with pytest.raises(UsageError, match="another number of outputs than 4"):
        RecognizerGraph("tiny-3d", **{**told, "classes": 4}, modality="both")
    with pytest.raises(UsageError, match="does not say what its network was fed"):
        RecognizerGraph("tiny-3d", **told)
    body = {name: value for name, value in net.state_dict().items() if "head" not in name}
    torch.save(body, tmp_path / "raw.weights")
    with pytest.raises(UsageError, match="lacks a trained head, as files of an image"):
        RecognizerGraph("tiny-3d", **told, modality="both")


def test_batch_frames_and_size_stay_open_where_a_method_takes_any(tmp_path: Path) -> None:
    method = masquerade.build("mask-mean")
    export(graph_of(method), tmp_path / "file.onnx")
    for shape in ((1, 1, 9, 7), (5, 2, 31, 18)):
        clip, mask = (torch.rand(shape[0], c, *shape[1:]) for c in (3, 1))
        (found,) = run_file(tmp_path / "file.onnx", clip=clip, mask=mask)
        assert np.abs(found - method(clip, mask=mask).clip.numpy()).max() < 1e-5


def test_windows_of_a_video_follow_by_the_state_as_one_pass(
    made: Callable[[str], Anonymizer], tmp_path: Path
) -> None:
    method, clip = made("bdq"), torch.rand(2, 3, 6, 24, 32)
    export(graph_of(method, (24, 32)), tmp_path / "file.pt2", format="torch")
    run = torch.export.load(tmp_path / "file.pt2").module()
    state = torch.full((2, 3, 1, 24, 32), -1.0)
    with torch.no_grad():
        first, after = run(clip=clip[:, :, :3], state=state)
        second, _ = run(clip=clip[:, :, 3:], state=after)
        expected = method(clip).clip
    assert (torch.cat([first, second], 2) != expected).float().mean() < 1e-3  # by rounding


def test_noise_is_an_input_which_a_file_never_holds(
    made: Callable[[str], Anonymizer], tmp_path: Path
) -> None:
    method, clip = made("noise-features"), torch.rand(1, 3, 2, 24, 32)
    graph = graph_of(method, (24, 32))
    export(graph, tmp_path / "file.pt2", format="torch")
    run = torch.export.load(tmp_path / "file.pt2").module()
    keys = [method.graph_state(method.init_state(seed=seed), clip) for seed in (1, 2)]
    with torch.no_grad():
        mask = torch.ones_like(clip[:, :1])
        one, other = (run(clip=clip, mask=mask, state=key)[0] for key in keys)
        assert (one - other).abs().max() > 1e-5
        assert (one - method(clip, state=1).clip).abs().max() < 1e-6


def test_a_file_says_what_it_is_and_names_no_place(
    called: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("--factor", "4", "--size", "18x24", "-o", "file.onnx", "--json")
    done = called("export", "downsample", *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    model = onnx.load(tmp_path / "file.onnx")
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["name"] == "downsample" and about["masquerade"] == masquerade.__version__
    assert json.loads(about["arguments"]) == {"factor": 4} and "MIT" in about["licence"]
    inputs = json.loads(about["inputs"])
    assert inputs == told["about"]["inputs"]
    assert inputs["clip"]["shape"] == ["batch", 3, "frames", 18, 24]
    assert told["difference"] <= told["tolerance"] and told["comparisons"] == 4
    content = (tmp_path / "file.onnx").read_bytes()
    assert b".py" not in content and str(Path(masquerade.__file__).parent).encode() not in content


def test_a_state_says_how_a_video_begins(made: Callable[[str], Anonymizer]) -> None:
    begins = {name: graph_of(made(name)).inputs for name in METHODS if name not in REFUSED}
    firsts = {name: each["state"].first for name, each in begins.items() if "state" in each}
    assert firsts == {"frame-difference": -1, "bdq": -1, "noise-features": "normal"}


def test_a_learned_methods_file_has_its_weights_fingerprint(
    made: Callable[[str], Anonymizer], called: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    notes = {"notes": ["the output is \x1b[2Jflat"]}
    masquerade.save(made("noise-features"), run / "anonymizer.safetensors", provenance=notes)
    words = ("--weights", run, "--format", "torch", "--size", "24x32", "-o", "\x1b[2Jfile.pt2")
    done = called("export", "noise-features", *words)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "its training said: the output is \\x1b[2Jflat" in done.stdout
    assert done.stdout.startswith("\\x1b[2Jfile.pt2: ")  # as a terminal may show it
    extra = {"masquerade.json": ""}
    torch.export.load(tmp_path / "\x1b[2Jfile.pt2", extra_files=extra)
    about = json.loads(extra["masquerade.json"])
    assert about["trained"] and about["weights_sha256"] == weights_digest(
        masquerade.load(run).state_dict()
    )


class Wrong(Anonymizer):
    """A method whose graph does something else than it says."""

    dynamic_size = True
    card = METHODS["blacken"].card

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        return Anonymized(clip * 0)

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        return Anonymized(clip * 1e-3)


@pytest.mark.parametrize("output", ["anonymized", "next_state"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e6, -3.0, 0.5])
def test_one_wrong_value_of_ten_thousand_is_seen_also_where_levels_may_jump(
    output: str, wrong: float
) -> None:
    graph = MethodGraph(masquerade.build("bdq").eval(), size=(90, 120))

    def run(given: dict[str, Tensor], *, change: bool = True) -> dict[str, Tensor]:
        with torch.no_grad():
            found = {
                name: out.clone() for name, out in zip(graph.outputs, graph(**given), strict=True)
            }
        if change:
            pixel = found[output][0, 0, 0, :1, :1]
            pixel += wrong
        return found

    assert not write.measure(graph, run).alike
    assert write.measure(graph, lambda given: run(given, change=False)).alike


def test_a_pixel_that_rounding_moved_by_a_level_is_allowed() -> None:
    method = masquerade.build("bdq").eval()
    graph = MethodGraph(method, size=(90, 120))

    def run(given: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            found = dict(zip(graph.outputs, (out.clone() for out in graph(**given)), strict=True))
        found["anonymized"][0, 0, 0, 0, 0] += method.quantization_step
        return found

    found = write.measure(graph, run)
    assert found.alike and 0 < found.jumped < 1e-4


class Untraceable(Wrong):
    """A method that refuses what it is traced with."""

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        raise ValueError("This network reads 16 frames.")


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_file_that_differs_from_pytorch_is_not_published(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "wrong", Wrong)
    with pytest.raises(OutputError, match=r"wrong differs from PyTorch by 1\.0e-03") as caught:
        export(graph_of(Wrong()), tmp_path / "file", format=kind)
    assert caught.value.exit_code == 4 and not list(tmp_path.iterdir())


def test_a_method_that_cannot_be_traced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "untraceable", Untraceable)
    with pytest.raises(UsageError, match=r"untraceable cannot be exported: This .* frames\.$"):
        export(graph_of(Untraceable()), tmp_path / "file", format="torch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 2, "name a method or a network first"),
        ("blurr -o a.onnx", 2, "there is no method or network 'blurr'"),
        ("blur -o a.onnx", 2, "a file of blur is for one size of frames"),
        ("blur --size 24 -o a.onnx", 2, "as 240x320, not '24'"),
        ("blur --size 0x9 -o a.onnx", 2, "as 240x320, not '0x9'"),
        ("blur --size 24x32 --classes 3 -o a.onnx", 2, "--classes is of recognizers; blur is none"),
        ("tiny-3d -o a.onnx", 2, "with --classes"),
        ("tiny-3d --classes 2 --preset tiny -o a.onnx", 2, "no method and has no --preset"),
        ("tiny-3d --classes 2 --modality flow -o a.onnx", 2, "cannot be fed flow"),
        ("tiny-flow --classes 2 --modality motion -o a.onnx", 2, "leave out --modality"),
        ("st-gcn --classes 2 --size 64x64 -o a.onnx", 2, "leave out --size"),
        ("tiny-3d --classes 2 --weights none -o a.onnx", 3, "no weights file"),
        ("spact --size 24x32 -o a.onnx", 3, "has not been trained"),
        ("spact --size 24x32 --weights none -o a.onnx", 3, "no weights file"),
        ("spact --size 24x32 --weights a --preset tiny -o a.onnx", 2, "leave out --preset"),
        ("blur --size 24x32 -o there", 2, "exists already"),
        ("tiny-3d --classes 2 --weights there -o there --overwrite", 2, "which is read"),
        ("blacken --format torch -o a.onnx", 2, "a.onnx is named as another format"),
        ("blacken --format onnx -o a.PT2", 2, "end its name in .onnx, or leave --format out"),
        ("dino-s8 --classes 3 -o a.onnx", 2, "--classes is of recognizers; dino-s8 is none"),
        ("dino-s8 --stride 3 -o a.onnx", 2, "it is one of 1, 2, 4, 8, not 3"),
        ("dino-s8 --size 9x40 -o a.onnx", 2, "12 pixels a side or more"),
        ("dino-s8 --weights none -o a.onnx", 3, "no weights file"),
        ("restoration-net --stride 2 -o a.onnx", 2, "--stride is of key networks"),
        ("restoration-net -o a.onnx", 2, "a file of restoration-net is for one size"),
        ("restoration-net --preset tiny -o a.onnx", 2, "no method and has no --preset"),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(
    words: str, code: int, said: str, called: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "there").write_text("mine")
    done = called("export", *words.split())
    assert done.returncode == code and said in " ".join(done.stderr.split()), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.parametrize(("file", "format"), [("a.pt2", "torch"), ("a.onnx", "onnx")])
def test_the_suffix_says_the_format(
    file: str, format: str, called: Callable[..., Any], tmp_path: Path
) -> None:
    done = called("export", "blacken", "-o", file, "--json")
    assert json.loads(done.stdout)["format"] == format
    kept = (tmp_path / file).read_bytes()
    assert kept.startswith(b"PK") == (format == "torch"), "programs of PyTorch are ZIP files"


def test_a_missing_package_is_named_with_the_line_that_adds_it(
    called: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "PACKAGES", ("onnx", "no_such_package"))
    done = called("export", "blacken", "-o", "file.onnx")
    assert done.returncode == 3 and 'no_such_package: pip install -e ".[onnx]"' in done.stderr
    assert not list(tmp_path.iterdir())
    checks = json.loads(called("doctor", "--json").stdout)
    (check,) = (check for check in checks if check["name"] == "ONNX")
    assert not check["available"] and "no_such_package" in check["detail"]


def test_an_untrained_network_is_said_to_be_one(called: Callable[..., Any], tmp_path: Path) -> None:
    words = ("--preset", "tiny", "--format", "torch", "--size", "24x32", "-o", "file.pt2")
    done = called("export", "noise-features", *words)
    assert done.returncode == 0 and "exported untrained" in done.stderr
    about = {"masquerade.json": ""}
    torch.export.load(io.BytesIO((tmp_path / "file.pt2").read_bytes()), extra_files=about)
    assert json.loads(about["masquerade.json"])["trained"] is False


@pytest.mark.parametrize("name", [name for name in METHODS if name not in REFUSED])
def test_a_methods_own_arguments_are_in_the_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where an option of recognizers has the name of one of them, as --frames of stprivacy."""
    with pytest.raises(SystemExit) as ended:
        main(["export", name, "--help-all"])
    assert ended.value.code == 0
    flags = re.findall(r"^\W*--(?:no-)?([a-z][a-z-]+)", capsys.readouterr().out, re.M)
    assert len(flags) == len(set(flags)) and {"classes", "frames"} <= set(flags)
    own = inspect.signature(METHODS[name]).parameters
    assert {each.replace("_", "-") for each in own} <= set(flags)


@pytest.mark.slow
def test_frames_are_an_argument_of_stprivacy(called: Callable[..., Any], tmp_path: Path) -> None:
    words = ("stprivacy", "--preset", "tiny", "--frames", "4", "--size", "32x32")
    done = called("export", *words, "--format", "torch", "-o", "file", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["about"]["inputs"]["clip"]["shape"][2] == 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_an_untrained_network_keeps_the_same_tubelets_in_a_file(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    method = masquerade.methods.PRESETS["stprivacy"]["tiny"](depth=2, places=(1,)).eval()
    found = export(MethodGraph(method, size=(32, 32)), tmp_path / "file.onnx")
    assert found.difference <= TOLERANCE


@pytest.mark.slow
def test_a_network_of_the_papers_size_is_compared(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = masquerade.methods.PRESETS["stprivacy"]["paper"]().eval()
    found = export(MethodGraph(method, size=(112, 112)), tmp_path / "file.onnx")
    assert found.difference <= TOLERANCE and not found.about["trained"]


@pytest.mark.parametrize("named", ["run", "run/anonymizer.safetensors"])
def test_a_file_does_not_replace_the_weights_that_it_is_of(
    named: str, called: Callable[..., Any], tmp_path: Path
) -> None:
    """Also where the run's folder is named."""
    weights = tmp_path / "run" / "anonymizer.safetensors"
    weights.parent.mkdir()
    method = masquerade.methods.PRESETS["spact"]["tiny"]()
    method.trained = True
    masquerade.save(method, weights)
    before = weights.read_bytes()
    words = ("spact", "--weights", named, "--size", "48x64", "--format", "torch", "--overwrite")
    done = called("export", *words, "-o", str(weights))
    assert done.returncode == 2 and "would replace" in done.stderr
    assert weights.read_bytes() == before
