"""One small dataset, and one evaluation of it, for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import scenes
from scenes import CONFIG

from masquerade.datasets.manifest import Manifest
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate
from masquerade.evaluation.presets import PRESETS
from masquerade.methods import build


@pytest.fixture(scope="session", autouse=True)
def presets() -> Iterator[None]:
    """The presets of these tests, for as long as they run."""
    PRESETS["quick"], PRESETS["small"] = scenes.QUICK, scenes.SMALL
    yield
    del PRESETS["quick"], PRESETS["small"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos and `clips.csv`."""
    path = tmp_path_factory.mktemp("scenes")
    scenes.make(path)
    return path


@pytest.fixture(scope="session")
def manifest(folder: Path) -> Manifest:
    """Of the videos."""
    return scenes.manifest_of(folder)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the clips and fits of `evaluation` lie."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="session")
def evaluation(manifest: Manifest, kept: Path) -> Evaluation:
    """A method that hides everything, and one that hides nothing."""
    entries = [
        EvaluatedMethod(name="black", anonymizer=build("blacken")),
        EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)),
        EvaluatedMethod(name="later", anonymizer=None, not_applicable="not today"),
    ]
    return evaluate(
        manifest, entries, CONFIG, data="scenes", folder=kept, limits=("Drawn, not filmed.",)
    )
