"""`evaluate --amp`: networks of attackers learn in half precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import scenes
import torch
from scenes import CONFIG
from test_attacked_views import task_of

from masquerade.cli.evaluate import config_of, parse
from masquerade.datasets.manifest import Manifest
from masquerade.evaluation.evaluated_clips import RAW
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.fit_predict import fit_predict
from masquerade.extraction.dataset import from_tensor


def test_the_flag_reaches_the_settings() -> None:
    line = ["--data", "a.csv", "--method", "blur"]
    assert not config_of(parse(line)[0]).amp
    assert config_of(parse([*line, "--amp"])[0]).amp


def test_results_say_so_and_fits_are_not_those_of_full_precision(
    manifest: Manifest, tmp_path: Path
) -> None:
    runs = [
        Evaluator(manifest, replace(CONFIG, attackers=("scratch",), amp=amp), tmp_path, None)
        for amp in (False, True)
    ]
    said = "Networks that attack learn in half precision; those that restore do not."
    assert [said in run.notes for run in runs] == [False, True]
    raw = runs[0].clips.of(RAW, None)
    assert len({run.executor.folder_of("raw", raw) for run in runs}) == 2


def test_networks_learn_the_same_in_half_precision_but_for_rounding() -> None:
    shades = torch.arange(12).remainder(2).mul(150).add(50).to(torch.uint8)
    noise = torch.randint(0, 50, (12, 3, 8, 32, 32), generator=torch.Generator().manual_seed(0))
    clips = from_tensor(shades.reshape(-1, 1, 1, 1, 1) + noise.to(torch.uint8))
    preset = replace(scenes.SMALL, epochs=20)
    found = [
        fit_predict(task_of("tiny-2d"), clips, replace(preset, amp=amp))["test"].probabilities
        for amp in (False, True)
    ]
    full, half = (one["action"] for one in found)
    assert not np.array_equal(full, half)
    assert np.abs(full - half).max() < 0.1
    assert full.argmax(1).tolist() == half.argmax(1).tolist() == [0, 1]
