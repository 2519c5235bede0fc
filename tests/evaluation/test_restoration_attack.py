"""Attackers that restore the raw picture: where they succeed, where not, and what is reported."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from rich.console import Console
from scenes import CONFIG

from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate
from masquerade.evaluation.paired_comparison import paired_scores
from masquerade.evaluation.presets import PRESETS, RESTORED_KERNELS, AttackerModel, restored
from masquerade.evaluation.protocols import Fold
from masquerade.evaluation.restoration import (
    RestorationTask,
    clip_quality,
    compare,
    fit_restoration_net,
    mean_quality,
    restored_clips,
    shared_train,
    why_not_comparable,
)
from masquerade.evaluation.results import from_json
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.dataset import ClipDataset, from_tensor, mapped_clips, write_clips
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.methods import build
from masquerade.report.table import markdown, show

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NETWORK = AttackerModel(modality="stills", network="tiny-2d")
RESTORING = replace(
    scenes.QUICK,
    restoration_steps=20,
    attackers={
        **scenes.QUICK.attackers,
        "tiny-2d": NETWORK,
        **restored({"tiny-2d": NETWORK}),
        **RESTORED_KERNELS,
    },
)
"""What learns in a second, with all kinds of attackers of restored clips."""


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Mimes: one clip of each person."""
    return read_manifest(write_mimes(tmp_path_factory.mktemp("mimes"), Mimes(clips=40)))


def pairs(manifest: Manifest, method: str, **given: object) -> tuple[ClipDataset, ClipDataset]:
    """Anonymized and raw clips."""
    config = ExtractionConfig(frames=8, size=(48, 64), seed=0)
    hidden = extract_clips(manifest, replace(config, method=build(method, **given)))
    return hidden, extract_clips(manifest, config)


def restored_psnr(hidden: ClipDataset, raw: ClipDataset, *, steps: int) -> tuple[float, float]:
    """The mean PSNR of test people's clips as published, and as restored."""
    rows = hidden.rows
    train, test = rows[8:], rows[:8]
    learned = hidden.of_rows(train), raw.of_rows(train)
    task = RestorationTask(published=learned[0], raw=learned[1], steps=steps, seed=0)
    shown = hidden.of_rows(test)
    again = restored_clips(shown, fit_restoration_net(task))
    before, after = (clip_quality(one, raw).values() for one in (shown, again))
    return float(np.mean([a for a, _ in before])), float(np.mean([a for a, _ in after]))


@pytest.mark.slow
def test_weak_blur_is_restored_on_people_who_were_not_seen(people: Manifest) -> None:
    """The strength test: where much is left, the network must find it."""
    before, after = restored_psnr(*pairs(people, "blur", kernel=5, sigma=2.0, short=0), steps=200)
    assert after > before + 1.5


@pytest.mark.slow
def test_what_is_gone_is_not_restored(people: Manifest) -> None:
    """Of black frames no more than the mean picture can be guessed."""
    hidden, raw = pairs(people, "blacken")
    _, after = restored_psnr(hidden, raw, steps=100)
    frames = raw.batch(torch.arange(8, len(raw))).float().mean(dim=(0, 2)).round().byte()
    guess = from_tensor(frames[None, :, None].repeat(8, 1, 8, 1, 1), rows=raw.rows[:8])
    mean_picture = np.mean([a for a, _ in clip_quality(guess, raw).values()])
    assert after < mean_picture + 0.5


def test_a_network_learns_from_no_more_frames_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of each clip is too many where there are a hundred thousand."""
    clips, held = from_tensor(torch.zeros((30, 3, 2, 8, 8), dtype=torch.uint8)), []

    def fit(sample: Callable[..., Any], **_: object) -> None:
        held.append(len(inspect.getclosurevars(sample).nonlocals["shown"]))

    monkeypatch.setattr("masquerade.evaluation.restoration.fit_restoration", fit)
    for most, wanted in ((20, 20), (30, 30), (59, 30), (60, 60)):
        monkeypatch.setattr("masquerade.evaluation.restoration.MOST_PAIRS", most)
        fit_restoration_net(RestorationTask(published=clips, raw=clips, steps=1, seed=0))
        assert held.pop() == wanted


def test_restored_clips_are_those_of_the_network_wherever_they_are_read(people: Manifest) -> None:
    hidden, raw = pairs(people, "pixelate")
    task = RestorationTask(published=hidden, raw=raw, steps=3, seed=0)
    net = fit_restoration_net(task)
    again = restored_clips(hidden, net)
    assert again.shape == hidden.shape and again.digest != hidden.digest
    assert torch.equal(again[3], again.batch(torch.tensor([1, 3]))[1])
    assert again.digest == restored_clips(hidden, net).digest


def test_restored_clips_are_the_same_from_a_file(people: Manifest, tmp_path: Path) -> None:
    published, raw = (clips.take(range(0, 40, 3)) for clips in pairs(people, "blur"))
    net = fit_restoration_net(RestorationTask(published=published, raw=raw, steps=2, seed=0))
    restored = restored_clips(published, net)
    write_clips(tmp_path / "clips", restored)
    copy = mapped_clips(tmp_path / "clips", restored)
    assert copy.digest == restored.digest and copy.rows.tolist() == restored.rows.tolist()
    some = torch.tensor([3, 0, 9])
    assert torch.equal(copy.batch(some), restored.batch(some))


def test_no_seed_shares_a_network_that_saw_whom_it_holds_out() -> None:
    rows = np.arange(16)
    parts = [(np.delete(rows, slice(i, i + 2)), rows[i : i + 2]) for i in range(0, 16, 2)]
    train, validation = parts[0]
    none = rows[:0]
    fold = Fold(train=train, validation=validation, test=none, others=tuple(parts[1:]))
    groups = shared_train(fold, range(5), rows)
    assert [group for group, _ in groups] == [(0, 1, 2), (3, 4)]
    for group, shared in groups:
        assert len(shared) == 16 - 2 * len(group)
        for seed in group:
            assert not np.isin(fold.for_seed(seed).validation, shared).any()
    half = Fold(train=rows[:8], validation=rows[8:], test=none, others=((rows[8:], rows[:8]),))
    assert [group for group, _ in shared_train(half, range(2), rows)] == [(0,), (1,)]


def test_clips_that_do_not_fit_raw_ones_are_left_out_with_a_reason() -> None:
    raw = from_tensor(torch.zeros(3, 3, 2, 16, 16, dtype=torch.uint8))
    assert why_not_comparable(raw.take([1]), raw) is None
    assert "not every clip" in (why_not_comparable(raw, raw.take([1])) or "")
    other = from_tensor(torch.zeros(3, 3, 1, 16, 16, dtype=torch.uint8))
    assert "(3, 1, 16, 16)" in (why_not_comparable(other, raw) or "")


def test_runs_and_seeds_are_averaged_by_clip() -> None:
    assert mean_quality([{1: (10.0, 0.2)}, {1: (20.0, 0.4), 2: (5.0, 0.0)}]) == {
        1: (15.0, pytest.approx(0.3)),
        2: (5.0, 0.0),
    }


def quality(gain: np.ndarray) -> dict[int, tuple[float, float]]:
    """Of clips that differ much among themselves, and are nearer to raw by so many decibels."""
    psnr = np.linspace(20, 40, len(gain)) + gain
    return {row: (float(one), 0.5 + float(one) / 100) for row, one in enumerate(psnr)}


def test_the_gain_is_paired_by_clip_and_of_nothing_has_no_width() -> None:
    groups, none = np.repeat(np.arange(12), 2), np.zeros(24)
    same = compare("network", quality(none), quality(none), groups)
    gained = same.gained_psnr
    assert same.restored_nothing and (gained.value, gained.low, gained.high) == (0, 0, 0)
    some = none + np.random.default_rng(0).normal(1.0, 0.2, 24)
    better = compare("network", quality(none), quality(some), groups)
    low, high = better.gained_psnr.low, better.gained_psnr.high
    assert not better.restored_nothing and low is not None and high is not None
    assert 0.8 < low < high < 1.2  # the clips themselves spread over 20 dB


def test_pictures_of_runs_that_differ_are_less_sure() -> None:
    """As scores: over people and runs alike, and of runs that are all the same over people."""
    groups, none = np.repeat(np.arange(12), 2), np.zeros(24)
    before, after = quality(none), quality(none + 1.0)
    people = compare("network", before, after, groups)
    assert people == compare("network", before, after, groups, runs=[(before, after)] * 3)
    runs = [(quality(none - far), quality(none + 1.0 + far)) for far in (-1.0, 0.0, 1.0)]
    both = compare("network", before, after, groups, runs=runs)
    for one, other in ((both.gained_psnr, people.gained_psnr), (both.psnr, people.psnr)):
        assert one.value == other.value and (one.high or 0) > (other.high or 0) + 0.1
        assert (one.low or 0) < (other.low or 0) - 0.1


def test_nothing_restored_is_said_in_words() -> None:
    """On UT-Interaction the noise of the default covers everything, and weak blur does not."""
    page = markdown(from_json((RESULTS / "uti.json").read_text("utf-8"))).splitlines()
    nothing = next(one for one in page if one.startswith("| selective | noise known |"))
    assert "| restored nothing |" in nothing and "[-" not in nothing
    something = next(one for one in page if one.startswith("| blur weak | network |"))
    assert "| 1.0 [0.8, 1.3] |" in something


@pytest.fixture(scope="module")
def measured(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """A method that hides everything, and one that is attacked by its noise too."""
    PRESETS["restoring"] = RESTORING
    config = replace(CONFIG, preset="restoring", folds=2)
    entries = [
        EvaluatedMethod(name="black", anonymizer=build("blacken")),
        EvaluatedMethod(name="noise", anonymizer=build("selective")),
    ]
    folder = tmp_path_factory.mktemp("measured")
    found = evaluate(manifest, entries, config, data="scenes", folder=folder)
    trained = {file: file.stat().st_mtime_ns for file in folder.rglob("*.restoration")}
    again = evaluate(manifest, entries, config, data="scenes", folder=folder)
    assert again == found
    assert trained == {file: file.stat().st_mtime_ns for file in folder.rglob("*.restoration")}
    del PRESETS["restoring"]
    return found


@pytest.mark.slow
def test_restored_clips_are_attacked_like_others(measured: Evaluation) -> None:
    raw, black, _ = measured.rows
    names = {one.name for one in black.findings[0].attacks if one.family == "reconstruction"}
    assert names == {
        "reconstruction tiny-2d, restored",
        "reconstruction tiny-2d, restored, recalibrated",
        "reconstruction kernel on the picture, restored",
        "reconstruction kernel on colours, restored",
    }
    for found in raw.findings:
        assert not any(one.family == "reconstruction" for one in found.attacks)
    assert raw.restored == ()


@pytest.mark.slow
def test_the_report_says_how_near_the_raw_picture_was(measured: Evaluation) -> None:
    _, black, noise = measured.rows
    (one,) = black.restored
    assert one.attacker == "network" and (one.psnr.value or 0) > (one.published_psnr.value or 99)
    assert [one.attacker for one in noise.restored] == ["network", "noise known", "noise guessed"]
    assert from_json(measured.to_json()) == measured
    older = measured.to_json().replace('"restored":', '"unknown":')
    assert from_json(older).rows[1].restored == ()
    page = markdown(measured)
    assert "## Restored pictures" in page and "| black | network |" in page
    console = Console(record=True, width=200)
    show(measured, console)
    assert "Restored pictures" in console.export_text()


def test_a_preset_without_such_attackers_says_so(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="no attackers of reconstruction"):
        evaluate(manifest, [], replace(CONFIG, attackers=("reconstruction",)), data="scenes")


@pytest.mark.slow
def test_the_family_alone_has_what_it_needs_of_raw_video(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods are compared by what is read alone: their pictures are not measured anew."""
    PRESETS["restoring"] = RESTORING
    config = replace(CONFIG, preset="restoring", folds=2, attackers=("reconstruction",))
    entries = [EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))]
    found = evaluate(manifest, entries, config, data="scenes", folder=tmp_path)
    monkeypatch.setattr("masquerade.evaluation.restoration_attack.clip_quality", None)
    paired = paired_scores(manifest, entries, config, folder=tmp_path)["identity"]
    del PRESETS["restoring"]
    copy = next(one for one in found.rows[1].findings if one.label == "identity")
    raw = next(one for one in found.rows[0].findings if one.label == "identity")
    name = "reconstruction kernel on colours, restored"
    score = next(one.test.value for one in copy.attacks if one.name == name)
    assert score is not None and score > 0.5 * (raw.score.value or 1)
    assert paired.scores["copy"].value == copy.score.value
