"""The table of predictions: saved and read back, scored without files, and limits of size."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import CONFIG, QUICK, SMALL

from masquerade.datasets.manifest import Manifest
from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate, kernel_ridge
from masquerade.evaluation.attacker_choice import join_table
from masquerade.evaluation.attackers import families_on_raw
from masquerade.evaluation.chosen_recognizers import models_within_limit
from masquerade.evaluation.evaluator import PREDICTIONS
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.metric_specs import metric_specs
from masquerade.evaluation.predictions import Block, ByLabel, PredictionKey, Predictions
from masquerade.evaluation.protocols import protocols
from masquerade.evaluation.scoring import score_table, scoring_inputs
from masquerade.methods import build

DESCRIPTORS = Path("/proc/self/fd")  # what this process has open
KEY = PredictionKey("people unseen", "blur", 0, "tiny-3d", "scratch", 0, 0, "test")


def table() -> Predictions:
    """Two attackers and two splits; one label is not predicted everywhere."""
    draw = np.random.default_rng(0)
    clips = np.array([3, 1, 4])
    both = {"action": draw.random((3, 2)), "red": np.asfortranarray(draw.random((3, 2)))}
    blocks = {
        KEY: Block(clips=clips, probabilities=both, cpu_seconds=1.5),
        KEY._replace(split="train"): Block(clips=np.array([0, 2]), cpu_seconds=1.5),
        KEY._replace(attacker="gait", initialisation="raw", seed=1): Block(
            clips=clips[:2],
            probabilities={"action": draw.random((2, 2))},
            cpu_seconds=2.0,
        ),
    }
    return Predictions(blocks=blocks, people=np.arange(5) % 2, groups=np.arange(5))


@pytest.mark.parametrize("kept", [1 << 20, 0], ids=["small", "large"])
def test_a_table_is_read_as_it_was_saved(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.evaluation.predictions.KEPT_BYTES", kept)
    saved = table()
    saved.save(tmp_path / "predictions.npz")
    read = Predictions.load(tmp_path / "predictions.npz")
    assert list(read.blocks) == list(saved.blocks) and read.cpu_seconds == 3.5
    assert np.array_equal(read.people, saved.people) and np.array_equal(read.groups, saved.groups)
    for key, block in saved.blocks.items():
        again = read.blocks[key]
        assert np.array_equal(again.clips, block.clips)
        assert set(again.probabilities) == set(block.probabilities)
        for label, p in block.probabilities.items():
            assert np.array_equal(again.probabilities[label], p)


@pytest.mark.parametrize("kept", [1 << 20, 0], ids=["small", "large"])
def test_damaged_files_are_refused(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.evaluation.predictions.KEPT_BYTES", kept)
    path = tmp_path / "x.npz"
    table().save(path)
    good = path.read_bytes()
    np.save(tmp_path / "x.npy", np.arange(3))
    cuts = [good[:size] for size in (1, 100, len(good) - 3)]
    contents = [(tmp_path / "x.npy").read_bytes(), *cuts]
    contents += [
        good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :] for at in range(0, len(good), 40)
    ]
    for content in contents:
        path.write_bytes(content)
        with suppress(UsageError):  # nothing else; some bytes mean nothing
            Predictions.load(path)
    saved = table().blocks[KEY].probabilities["action"].tobytes()
    at = good.index(saved) + 5
    for content in (good[:100], good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"damaged, or no table .* run the command again"):
            Predictions.load(path)
    path.write_bytes(good[:100])
    with pytest.raises(UsageError, match=r"damaged, or no table .* run the command again"):
        Predictions.load(path)


@pytest.mark.parametrize("content", [b"", b"no table"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"damaged, or no table .* run the command again"):
        Predictions.load(tmp_path / "x.npz")


def test_large_predictions_are_checked_when_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.evaluation.predictions.KEPT_BYTES", 0)
    saved = table()
    saved.blocks[KEY].probabilities["red"][1, 0] = np.nan
    saved.save(tmp_path / "predictions.npz")
    read = Predictions.load(tmp_path / "predictions.npz").blocks[KEY].probabilities
    assert np.array_equal(read["action"], saved.blocks[KEY].probabilities["action"])
    with pytest.raises(MasqueradeError, match="predictions of red are not finite"):
        read["red"]


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="no list of what is open")
def test_large_files_are_not_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade.evaluation.predictions.KEPT_BYTES", 0)
    table().save(tmp_path / "fit.npz")
    before = len(list(DESCRIPTORS.iterdir()))
    read = [Predictions.load(tmp_path / "fit.npz") for _ in range(300)]
    assert len(list(DESCRIPTORS.iterdir())) == before
    action = table().blocks[KEY].probabilities["action"]
    assert all(np.array_equal(one.blocks[KEY].probabilities["action"], action) for one in read)
    assert len(list(DESCRIPTORS.iterdir())) == before


def test_a_file_that_the_system_does_not_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.evaluation.predictions.KEPT_BYTES", 0)
    path = tmp_path / "fit.npz"
    table().save(path)
    read = Predictions.load(path).blocks[KEY].probabilities
    said = r"fit.npz cannot be read \(No such file or directory\): .* run the command again"
    path.unlink()
    for again in (lambda: read["action"], lambda: Predictions.load(path)):
        with pytest.raises(MasqueradeError, match=said) as caught:
            again()
        assert not isinstance(caught.value, UsageError)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(MasqueradeError, match=r"cannot be read \(Too many open files\)"):
        Predictions.load(path)


def test_only_small_arrays_are_kept_once_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade.evaluation.predictions.KEPT_BYTES", 80)
    made: list[str] = []

    def make(label: str) -> np.ndarray:
        made.append(label)
        return np.zeros({"small": 10, "large": 11}[label])

    found = ByLabel(["small", "large"], make)
    assert list(found) == ["small", "large"] and not made, "nothing is made before it is read"
    for _ in range(2):
        assert len(found["small"]) == 10 and len(found["large"]) == 11
    assert made == ["small", "large", "large"]


def test_blocks_are_selected_by_their_keys_and_merged() -> None:
    whole = table()
    assert len(whole.select(split="test").blocks) == 2
    assert len(whole.select(seed=(0, 1)).blocks) == 3
    raw, scratch = (whole.select(initialisation=name) for name in ("raw", "scratch"))
    assert [key.attacker for key in raw.blocks] == ["gait"] and scratch.clips.tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert list(scratch.merge([raw]).blocks) == list(whole.blocks)


@pytest.mark.slow
@pytest.mark.parametrize("held", [1 << 20, 0], ids=["small", "large"])
def test_a_saved_table_gives_the_same_findings_without_networks(
    held: int,
    manifest: Manifest,
    kept: Path,
    evaluation: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folds = protocols(manifest, folds=CONFIG.folds)
    truth, specs = GroundTruth.of(manifest, folds), metric_specs(manifest, folds, ())
    lines = [EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))]
    rows = evaluate(manifest, lines, CONFIG, data="scenes", folder=kept).rows
    monkeypatch.setattr("masquerade.evaluation.predictions.KEPT_BYTES", held)
    saved = Predictions.load(kept / PREDICTIONS)
    assert list(dict.fromkeys(key.method for key in saved.blocks)) == ["raw", "copy"]
    assert (saved.people >= 0).all()
    assert {key.split for key in saved.blocks} == {"train", "validation", "test"}
    on_raw = families_on_raw(evaluation.attackers)
    raw, mine = (
        scoring_inputs(saved.select(method=name), truth, families, QUICK.attackers)
        for name, families in (("raw", on_raw), ("copy", evaluation.attackers))
    )
    found = score_table(join_table([("raw", raw), ("copy", mine)]), truth, specs)
    for again, before in zip(found, rows, strict=True):
        # what attackers of single channels cannot read is known of the controls, not of the table
        assert [replace(one, undecided=None) for one in again] == [
            replace(one, undecided=None) for one in before.findings
        ]


def test_too_many_predictions_are_not_joined_and_no_older_table_stays(
    manifest: Manifest, kept: Path, evaluation: Evaluation, tmp_path: Path, monkeypatch: Any
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    (folder / PREDICTIONS).write_bytes(b"of an earlier run")
    monkeypatch.setattr("masquerade.evaluation.evaluator.JOINED_BYTES", 0)
    black = [EvaluatedMethod(name="black", anonymizer=build("blacken"))]
    result = evaluate(manifest, black, CONFIG, data="scenes", folder=folder)
    assert [one.name for one in result.rows] == ["raw", "black"]
    assert not (folder / PREDICTIONS).exists()


def test_kernel_attackers_of_too_many_clips_are_left_out_and_said(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = GroundTruth.of(manifest, protocols(manifest, folds=2))
    assert models_within_limit(SMALL.attackers, truth) == (SMALL.attackers, ())
    monkeypatch.setattr(kernel_ridge, "MOST_CLIPS", 20)
    config = replace(CONFIG, preset="small", folds=2, attackers=("scratch", "motion"))
    found = evaluate(manifest, [], config, data="x", folder=tmp_path)
    assert any("Kernel attackers are left out (kernel on motion)" in one for one in found.limits)
    names = {attack.name for one in found.rows[0].findings for attack in one.attacks}
    assert names == {"scratch tiny-2d"}
    with pytest.raises(UsageError, match="too many for the kernel attackers"):
        evaluate(manifest, [], replace(config, preset="quick"), data="x", folder=tmp_path)


def test_a_folder_of_an_earlier_version_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "fits" / "raw-0").mkdir(parents=True)
    (tmp_path / "fits" / "raw-0" / "clips.npy").touch()
    with pytest.raises(UsageError, match=r"earlier version.*choose another -o"):
        evaluate(manifest, [], CONFIG, data="x", folder=tmp_path)
