"""The graph of a recognizer: clips to logits, at the frames and the size that it is made for."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.export.graph import Graph, Pair, Port, Run, Tensors
from masquerade.models.published_weights import load_weights, read_weights
from masquerade.models.recognizers import RECOGNIZERS, Recognizer, build_recognizer
from masquerade.models.recognizers.modalities import ModalityRecognizer
from masquerade.storage import weights_digest

TRACEABLE = ("frames", "stills", "contrast", "motion", "both", "background")
PEOPLE = 2  # in a pose sequence


class RecognizerGraph(Graph):
    """Clips to logits (B, classes).

    Args:
        name: in RECOGNIZERS.
        classes: outputs; of several labels all of theirs, one label after the other.
        weights: a file of published weights, or what an evaluation's raw-trained attacker saved;
            None: it stays untrained.
        frames: of a clip; None: as the papers sample it.
        size: height and width of a frame; None: likewise.
        modality: what the network is fed of RGB frames; None: frames, of one without weights.
    """

    least_scale = 1e-6  # logits have no unit

    def __init__(
        self,
        name: str,
        *,
        classes: int,
        weights: Path | None = None,
        frames: int | None = None,
        size: tuple[int, int] | None = None,
        modality: str | None = None,
    ) -> None:
        super().__init__()
        architecture = RECOGNIZERS[name]
        own = architecture.channels != 3 or architecture.poses
        if weights is not None and weights.is_file() and modality is None and not own:
            raise UsageError(
                f"{weights.name} does not say what its network was fed: give --modality, which is "
                "frames where it saw them as they are, and --frames and --size where it did not "
                "see as many and as large ones as the papers sample."
            )
        modality = modality or "frames"
        if modality not in TRACEABLE:
            raise UsageError(
                f"a file cannot be fed {modality}, which is searched outside the network; choose "
                f"of {', '.join(TRACEABLE)}."
            )
        if own and modality != "frames":
            raise UsageError(f"{name} reads {architecture.modality}; leave out --modality.")
        if architecture.poses and size is not None:
            raise UsageError(f"{name} reads {architecture.modality}; leave out --size.")
        if own:
            self.net: nn.Module = architecture(classes=classes)
        else:
            widths = _widths(weights) if weights and name == "tiny-3d" else None
            heads = {"logits": classes}
            self.net = build_recognizer(name, heads=heads, modality=modality, widths=widths)
        inner = self.net.net if isinstance(self.net, ModalityRecognizer) else self.net
        assert isinstance(inner, Recognizer)
        if weights is not None and (fresh := load_weights(inner.net, weights)):
            if set(fresh).isdisjoint(read_weights(weights)):
                raise UsageError(
                    f"{weights.name} lacks a trained head, as files of an image network or of one "
                    "stream do; give one of a network that was trained as a whole."
                )
            raise UsageError(
                f"{weights.name} has another number of outputs than {classes}; give its --classes."
            )
        self.trained = weights is not None
        sampling = architecture.sampling
        frames = frames or sampling.frames
        height, width = size or (sampling.size, sampling.size)
        meaning = "RGB in [0, 1]"
        if architecture.poses:
            height, width, meaning = sampling.size, PEOPLE, "x, y and visibility of landmarks"
        elif architecture.channels != 3:
            meaning = f"{architecture.modality} in [0, 1]; flow of .5 is no motion"
        shape = ("batch", architecture.channels, frames, height, width)
        self.inputs = {"clip": Port(shape, meaning)}
        self.outputs = {"logits": Port(("batch", classes), "before the softmax or the sigmoid")}
        self.about = {
            "kind": "recognizer",
            "name": name,
            "leaves_out_black": False,  # as video ViTs that attack do, by a branch on each clip
            "arguments": {"classes": classes, "modality": modality},
            "weights_sha256": weights_digest(self.net.state_dict()),
        }
        self.eval()

    def forward(self, clip: Tensor) -> tuple[Tensor]:
        out = self.net(clip)
        return (out["logits"] if isinstance(out, dict) else out,)

    def example(self) -> Tensors:
        return {"clip": self._clip(2, 0)}

    def compare(self, run: Run) -> Iterator[Pair]:
        for batch, seed in ((1, 1), (3, 2)):
            clip = self._clip(batch, seed)
            with torch.no_grad():
                yield Pair(run({"clip": clip})["logits"], self(clip)[0])

    def _clip(self, batch: int, seed: int) -> Tensor:
        drawn = torch.Generator().manual_seed(seed)
        return torch.rand(self.at(self.inputs["clip"], {"batch": batch}), generator=drawn)


def _widths(weights: Path) -> tuple[int, ...]:
    """The widths of a `tiny-3d` from the shapes in its file."""
    tensors = read_weights(weights)
    return tuple(v.shape[0] for k, v in tensors.items() if k.startswith("convs."))
