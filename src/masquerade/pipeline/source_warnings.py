"""Warnings about the source in a receipt: damage, wrong times, an unknown end, interlacing."""

from collections.abc import Iterator

from masquerade.video.read import Reader


def source_warnings(reader: Reader, *, frames: int, gpu: bool, repaired: int) -> Iterator[str]:
    """Sentences about a source that was read to its end.

    It gave so many `frames`, and `repaired` of its timestamps were replaced.
    """
    if reader.lost or reader.damaged:
        lost = f"at least {reader.lost} of its frames are lost"
        if not reader.lost:  # few formats number their frames
            lost = "nothing in it says how many of its frames are lost"
        yield f"the source is damaged: {lost}, and {frames} were salvaged."
    if repaired and not _has_no_times(reader, repaired, frames):
        yield (
            f"{repaired} times of pictures or sound in the source were missing or wrong and "
            "were replaced: what is shown then may be early or late."
        )
    if gpu and not reader.on_gpu:
        yield (
            "decoded on the CPU: this machine has no NVIDIA GPU that decodes "
            f"{reader.info.codec} as it is here."
        )
    if reader.interlaced:
        yield (
            "the source is interlaced; its two fields are kept and the output is marked "
            "progressive: deinterlace it first."
        )
    if reader.end_unknown:
        yield (
            "nothing in the source says where it ends: frames missing behind the last one would "
            "not have been noticed."
        )


def _has_no_times(reader: Reader, repaired: int, frames: int) -> bool:
    """Whether no picture had a time, as in H.264 without a container, and there is no sound."""
    return len(reader.info.streams) == 1 and repaired >= frames
