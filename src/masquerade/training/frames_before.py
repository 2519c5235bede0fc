"""Clips whose frames come with the frames right before them, for methods that compare neighbours.

A recognizer reads frames that are spread over a video, while a method such as BDQ subtracts the
frame before. Given the spread frames alone it would learn from changes over half a second, and be
used on those from one frame to the next. So a clip of T frames is stored as T runs of consecutive
frames, each of which is anonymized by itself, and networks are given the last frame of each.
"""

from torch import Tensor

from masquerade.anonymizer import Anonymizer, TrainingOutput


def last_frames(clips: Tensor, before: int) -> Tensor:
    """The last frame of each run of `before` + 1, (B, C, T, H, W), of (B, C, T (before + 1), H, W).

    They are what networks are shown of raw clips.
    """
    return clips[:, :, before :: before + 1]


def split_runs(clips: Tensor, before: int) -> Tensor:
    """The runs as clips of their own, (B T, C, before + 1, H, W)."""
    batch, channels, frames, height, width = clips.shape
    runs = clips.reshape(batch, channels, frames // (before + 1), before + 1, height, width)
    return runs.transpose(1, 2).flatten(0, 1)


def join_runs(runs: Tensor, before: int, *, batch: int) -> Tensor:
    """The last frames (B, C, T, H, W) of what came of `split_runs`."""
    count, channels, _, height, width = runs.shape
    shown = runs[:, :, before].reshape(batch, count // batch, channels, height, width)
    return shown.transpose(1, 2)


def training_output(anonymizer: Anonymizer, clips: Tensor, *, before: int) -> TrainingOutput:
    """A method's training output for clips that hold `before` frames before each of their own."""
    if not before:
        return anonymizer.training_output(clips)
    found = anonymizer.training_output(split_runs(clips, before))
    return found._replace(clip=join_runs(found.clip, before, batch=len(clips)))


def inference_output(
    anonymizer: Anonymizer, clips: Tensor, *, before: int
) -> tuple[Tensor, Tensor | None]:
    """Anonymize clips as they will be published, which may differ from the training output.

    With it, how far each pixel is shown, (B, T, H, W); None: everywhere alike.
    """
    given = split_runs(clips, before) if before else clips
    out = anonymizer(given, state=anonymizer.init_state(seed=0))
    if before:
        return join_runs(out.clip, before, batch=len(clips)), None
    return out.clip, None if out.hidden is None else 1 - out.hidden[:, 0]
