"""Give each network clips of the frames, stride and size that its published weights learned from.

Networks of clips were published with frames and strides of their own, such as 8 x 8 of C2D and
32 x 2 of CSN, and with a size of their own; Ilic et al. (CVPR 2024) test each by its own
(docs/papers.md 3.6).
"""

from dataclasses import replace

from masquerade.errors import UsageError
from masquerade.evaluation.config import SamplingChoice
from masquerade.evaluation.presets import AttackerModel, ClipSampling, Preset
from masquerade.evaluation.results import NetworkSampling
from masquerade.models.recognizers import RECOGNIZERS


def with_own_sampling(preset: Preset, choice: SamplingChoice) -> tuple[Preset, tuple[str, ...]]:
    """Give each network of a preset the sampling that its published weights were trained on.

    A note says which. All else keeps the preset's. Videos are then anonymized whole: the clips of
    all networks are of one anonymized video, whichever of its frames they have.

    Args:
        preset: of attackers, with the stride, views and crops that were asked for.
        choice: whose frames, stride and size they are.

    Raises:
        UsageError: no such choice, or frames that are made larger to be cropped.
    """
    if choice == "preset":
        return preset, ()
    if choice not in ("own-frames", "own"):
        raise UsageError(f"--clip-sampling is preset, own-frames or own, not {choice!r}.")
    if choice == "own" and preset.test_crop != 1:
        raise UsageError(
            "--test-crop and --clip-sampling own both say how large frames are: leave --test-crop "
            "out, or give --clip-sampling own-frames."
        )
    # clips of the preset's sampling are restored, for which raw video trained no such network
    gone = [
        n for n, model in preset.attackers.items() if model.network and model.content == "restored"
    ]
    attackers = {
        name: _with_own(model, preset, choice) if model.is_frame_network else model
        for name, model in preset.attackers.items()
        if name not in gone
    }
    preset = replace(preset, attackers=attackers, sample_first=False)
    listed = "; ".join(_words(sampling) for sampling in sampling_of_networks(preset))
    height, width = preset.size
    apart = "spread over the video" if preset.stride is None else f"{preset.stride} apart"
    note = (
        "Networks of frames see clips as their published weights were trained, as was asked for "
        f"(frames x stride, pixels): {listed or 'none'}. Networks of single frames see some frames "
        f"of the preset's clips; all else that sees frames sees {preset.frames} frames, {apart}, "
        f"of {width} x {height} pixels. Videos are anonymized whole, and then sampled."
    )
    if not gone:
        return preset, (note,)
    left_out = (
        f"Networks of restored clips are left out ({'; '.join(gone)}): clips are restored as the "
        "preset samples them, and networks learn raw video by samplings of their own."
    )
    return preset, (note, left_out)


def sampling_of_networks(preset: Preset) -> tuple[NetworkSampling, ...]:
    """What each network of frames with a sampling of its own sees."""
    return tuple(
        NetworkSampling(
            attacker=name,
            frames=model.sampling.frames,
            stride=model.sampling.stride,
            height=model.side or model.sampling.size[0],
            width=model.side or model.sampling.size[1],
        )
        for name, model in preset.attackers.items()
        if model.sampling is not None
    )


def _with_own(model: AttackerModel, preset: Preset, choice: SamplingChoice) -> AttackerModel:
    """Give a network the frames, stride and size that its weights were trained on.

    A network of single frames keeps the frames and the stride of the preset.
    """
    entry = RECOGNIZERS[model.network or ""]
    frames, stride, side = entry.sampling
    sampling = ClipSampling(
        frames=preset.frames if entry.per_frame else frames,
        stride=preset.stride if entry.per_frame else stride,
        size=(side, side) if choice == "own" else preset.size,
    )
    return replace(model, sampling=sampling, side=None if choice == "own" else model.side)


def _words(sampling: NetworkSampling) -> str:
    stride = "over the video" if sampling.stride is None else sampling.stride
    return f"{sampling.attacker} {sampling.frames} x {stride}, {sampling.width} x {sampling.height}"
