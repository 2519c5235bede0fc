"""Methods that a user wrote: what is asked of them before the first frame, and what they keep."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer, Card, eval_mode
from masquerade.errors import UsageError
from masquerade.pipeline.live_config import LiveConfig
from masquerade.pipeline.live_run import LiveSession


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small frames of noise."""
    path = tmp_path_factory.mktemp("noise") / "clip.mp4"
    generator = torch.Generator().manual_seed(0)
    masquerade.write_video(path, torch.rand(1, 3, 8, 64, 96, generator=generator))
    return path


class Own(Anonymizer):
    """Paints everything black, and knows how often it was asked to."""

    card = Card("", "", "", "")
    calls = 0

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        self.calls += 1
        return Anonymized(clip * 0)


class Renamed(Own):
    def __init__(self, *, power: float = 2.0) -> None:
        super().__init__()
        self._power = power


class AnyNumber(Own):
    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = given


class OfAFile(Own):
    def __init__(self, *, table: Path = Path("table.csv")) -> None:
        super().__init__()
        self.table = table


class OfATensor(Own):
    def __init__(self, *, colour: Tensor | None = None) -> None:
        super().__init__()
        self.colour = torch.zeros(3) if colour is None else colour


REFUSED = [
    (Renamed, "Renamed keeps no attribute power; set self.power"),
    (AnyNumber, r"AnyNumber takes \*\*given, which names no arguments"),
    (OfAFile, "the argument table of OfAFile is a PosixPath that JSON does not hold"),
    (OfATensor, "the argument colour of OfATensor is a Tensor that JSON does not hold"),
]


@pytest.mark.parametrize(("kind", "said"), REFUSED)
def test_a_method_whose_arguments_no_receipt_can_hold_is_refused_before_the_first_frame(
    kind: type[Own], said: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found out after the last one, in a traceback."""
    monkeypatch.setitem(masquerade.METHODS, "own", kind)
    method = kind()
    with pytest.raises(UsageError, match=said):
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", method, regions="frame")
    with pytest.raises(UsageError, match=said):
        masquerade.save(method, tmp_path / "o.safetensors")
    with pytest.raises(UsageError, match=said):
        LiveSession("rtsp://camera/1", "-", method, LiveConfig(regions="frame"))
    assert method.calls == 0 and not list(tmp_path.iterdir())


def test_a_method_without_a_name_is_refused_before_the_first_frame(
    clip: Path, tmp_path: Path
) -> None:
    method = Own()
    with pytest.raises(UsageError, match="Own is not in METHODS"):
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", method, regions="frame")
    assert method.calls == 0 and not list(tmp_path.iterdir())


class Normalizing(Own):
    """Has layers that do something else in training, one of which was frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm3d(3), nn.BatchNorm3d(3).eval()
        self.dropout = nn.Dropout(0.5)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        return Anonymized(self.dropout(self.frozen(self.norm(clip))).sigmoid())


@pytest.mark.parametrize("training", [False, True])
def test_a_method_in_training_anonymizes_as_afterwards_and_stays_as_it_was(
    training: bool, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout and batch statistics were in clips, and files left the module in evaluation mode."""
    monkeypatch.setitem(masquerade.METHODS, "own", Normalizing)
    method, raw = Normalizing(), torch.rand(1, 3, 4, 8, 8)
    wanted = masquerade.anonymize(raw, method.eval())
    method.norm.train(training)
    method.dropout.train(training)
    modes = {name: part.training for name, part in method.named_modules()}
    before = {name: value.clone() for name, value in method.state_dict().items()}
    assert torch.equal(masquerade.anonymize(raw, method), wanted)
    for name, first in (("own.mkv", method), ("eval.mkv", copy.deepcopy(method).eval())):
        masquerade.anonymize_file(clip, tmp_path / name, first, regions="frame")
    made = [masquerade.read_video(tmp_path / name).clip for name in ("own.mkv", "eval.mkv")]
    assert torch.equal(*made)
    assert {name: part.training for name, part in method.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_a_method_that_several_use_has_its_mode_back_when_the_last_is_done() -> None:
    method = Normalizing().train()
    with eval_mode(method):
        with pytest.raises(UsageError, match="clips"), eval_mode(method):
            masquerade.anonymize(torch.rand(3), method)
        assert not any(part.training for part in method.modules())
    assert all(part.training for part in method.modules())
