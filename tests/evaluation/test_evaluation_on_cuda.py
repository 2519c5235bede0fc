"""An evaluation on an NVIDIA GPU says what it says on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scenes import CONFIG

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate
from masquerade.methods import PRESETS, build


def evaluated(
    manifest: Manifest, folder: Path, *, device: str, preset: str, amp: bool = False
) -> Evaluation:
    config = replace(CONFIG, device=device, preset=preset, amp=amp, workers=2, folds=2)
    network: Anonymizer = PRESETS["bdq"]["tiny"]()
    network.trained = True
    lines = [
        EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)),
        EvaluatedMethod(name="network", anonymizer=network),
    ]
    return evaluate(manifest, lines, config, data="scenes", folder=folder)


@pytest.mark.cuda
def test_a_gpu_gives_the_cpus_table(manifest: Manifest, tmp_path: Path) -> None:
    """Of kernel machines, which do not begin with random weights."""
    here, there = (
        evaluated(manifest, tmp_path / device, device=device, preset="quick")
        for device in ("cpu", "cuda")
    )
    for one, two in zip(here.rows, there.rows, strict=True):
        for a, b in zip(one.findings, two.findings, strict=True):
            assert (a.label, a.metric) == (b.label, b.metric)
            assert b.score.value == pytest.approx(a.score.value, abs=0.1)


@pytest.mark.cuda
@pytest.mark.parametrize("amp", [False, True], ids=["full precision", "half precision"])
def test_networks_of_attackers_learn_on_a_gpu(
    amp: bool, manifest: Manifest, tmp_path: Path
) -> None:
    found = evaluated(manifest, tmp_path, device="cuda", preset="small", amp=amp)
    assert [row.name for row in found.rows] == ["raw", "copy", "network"]
    attacks = {one.name for row in found.rows for each in row.findings for one in each.attacks}
    assert {"scratch tiny-2d", "finetuned tiny-2d"} <= attacks
