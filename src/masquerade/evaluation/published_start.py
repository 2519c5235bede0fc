"""Start attackers from files of published weights, such as ImageNet's or Kinetics-400's.

The papers' recognizers and attackers start from such files (docs/papers.md 9). What does not fit
is refused before any work.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from torch import nn

from masquerade.errors import UsageError
from masquerade.evaluation.presets import AttackerModel, Preset, WeightsFile
from masquerade.models.published_weights import load_weights
from masquerade.models.recognizers import Recognizer, build_recognizer
from masquerade.models.recognizers.modalities import ModalityRecognizer
from masquerade.models.vit import VideoViT
from masquerade.storage import file_digest, file_signature

SHOWN = 16  # digits of a file's SHA-256 in the note under the table


def from_published(
    preset: Preset, files: Mapping[str, Path], image_file: Path | None = None
) -> tuple[Preset, tuple[str, ...]]:
    """The preset whose attackers know the files that they start from, and a note on these.

    Args:
        preset: of attackers.
        files: of weights, by the attacker's name in the preset.
        image_file: of an image ViT; the video ViTs that have no file of their own start from it.

    Raises:
        UsageError: no such attacker, or a file that is not there or does not fit.
    """
    able = {name: model for name, model in preset.attackers.items() if model.is_frame_network}
    files = dict(files)
    for name in files:
        if name not in able:
            choice = f"choose of {', '.join(able)}" if able else "take another preset"
            why = "starts from no weights" if name in preset.attackers else "is not in the preset"
            raise UsageError(f"The attacker {name!r} {why}: {choice}.")
    if image_file is not None:
        videos = [name for name, model in able.items() if _is_video_vit(model)]
        if not videos:
            raise UsageError("--image-weights is of video ViTs, as preset paper has them.")
        files |= {name: image_file for name in videos if name not in files}
    if not files:
        return preset, ()
    started = {
        name: replace(able[name], published=_check(name, able[name], path))
        for name, path in files.items()
    }
    starts = [
        f"{name} from {files[name].name} (SHA-256 {model.published.digest[:SHOWN]})"
        for name, model in started.items()
        if model.published is not None
    ]
    note = (
        f"Attackers of the family published start from files: {', '.join(starts)}. What these "
        "learned from is not known here; it must not be clips of the test."
    )
    return replace(preset, attackers={**preset.attackers, **started}), (note,)


def starts(preset: Preset) -> str:
    """What the networks of a preset from `from_published` start from, in words."""
    files = [
        f"{name} from {model.published.path.name}"
        for name, model in preset.attackers.items()
        if model.published is not None
    ]
    return "random weights" + (f", and besides {', '.join(files)}" if files else "")


def load_published(net: nn.Module, model: AttackerModel) -> None:
    """Give a fresh recognizer of an attacker the weights of its file, but for heads that differ."""
    inner = net.net if isinstance(net, ModalityRecognizer) else net
    if model.published is None or not isinstance(inner, Recognizer):
        raise UsageError(f"{model.network} has no file of weights to start from.")
    load_weights(inner.net, model.published.path)


def _is_video_vit(model: AttackerModel) -> bool:
    net = _build(model)
    inner = net.net if isinstance(net, ModalityRecognizer) else net
    return isinstance(inner, Recognizer) and isinstance(inner.net, VideoViT)


def _check(name: str, model: AttackerModel, path: Path) -> WeightsFile:
    """The file, if its weights fit."""
    if not path.is_file():
        if path.is_dir():
            raise UsageError(f"{path}, for {name}, is a folder; name a file of weights.")
        raise UsageError(f"There is no weights file {path} for {name}: give one that you have.")
    try:
        digest = _digest_of_fitting(model, path, file_signature(path))
        return WeightsFile(path=path, digest=digest)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; give another file.") from error
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


@lru_cache(maxsize=64)  # a benchmark checks a table, counts its work, and attacks it
def _digest_of_fitting(model: AttackerModel, path: Path, signature: tuple[int, ...]) -> str:
    """Check that the weights in a file fit a model, and return the file's SHA-256.

    A file that changed has another `signature`, and is read again.
    """
    weights_file = WeightsFile(path=path, digest=file_digest(path))
    load_published(_build(model), replace(model, published=weights_file))
    return weights_file.digest


def _build(model: AttackerModel) -> nn.Module:
    return build_recognizer(
        model.network or "", heads={"any": 1}, modality=model.modality, widths=model.widths
    )
