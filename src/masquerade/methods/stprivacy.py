"""STPrivacy: a video transformer drops private tubelets and reconstructs the others.

Li et al., "STPrivacy: Spatio-Temporal Privacy-Preserving Action Recognition", ICCV 2023. Three
predictors drop tubelets step by step (sparsification), a transformer reconstructs the rest
(anonymization), and both are trained for an action recognizer and against a network that predicts
private attributes from the clip. Hides what that network read, keeps what the action needs; the
whole frame is rewritten, so an untrained network is refused.

Differs from the paper by default: with `strict` the output is computed from kept tubelets alone,
whereas the paper's kept tokens have attended to those dropped later; pixels pass a sigmoid, as a
file cannot hold unbounded values; dropped tokens have exactly zero attention. `--preset paper` is
the paper's setting, `code` that of its code. Windows of `frames` never overlap, as one could show
what the other dropped.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.anonymizer import (
    Anonymized,
    Anonymizer,
    Card,
    Presets,
    TrainingOutput,
    back_and_forth,
)
from masquerade.errors import UsageError
from masquerade.methods.area_resizing import area_resize, resize
from masquerade.models.published_weights import load_weights
from masquerade.models.sparse_vit import (
    SparseViT,
    draw_top_k,
    kept_counts,
    ratio_loss,
    sample_keep,
)
from masquerade.ranges import Share, at_least

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as the weights that it may start from expect
STD = (0.229, 0.224, 0.225)
MOST_CHANGE = 0.1  # of grey levels in [0, 1], beyond which changes look alike
BLUR_GRID = 8  # rows and columns that fill="blur" leaves of a frame
Side = Annotated[int, at_least(1, 4096)]


class STPrivacy(Anonymizer):
    """Drop private tubelets of a video and reconstruct the others; it has to be trained first.

    Args:
        frames: frames of a window.
        picture: rows and columns of the network's input; frames of other sizes are resized.
        tubelet: frames, rows and columns of a tubelet.
        width: width of a token; 384 is ViT-S, 192 ViT-Ti.
        heads: attention heads of each layer.
        depth: layers.
        places: layers before which tubelets are dropped.
        keep: keep ratio of each of these steps (the paper's alpha), above 0 to 1; lower hides more.
        mode: full; sparsify-only drops tubelets and shows the others unchanged, at the video's own
            size; anonymize-only drops none and reconstructs all.
        strict: compute the output from kept tubelets alone; --no-strict: let kept tubelets carry
            traces of dropped ones, as in the paper. Use it as in training.
        fill: what is shown in place of dropped tubelets: black, or the mean of what is kept; blur
            shows what was dropped, blurred, which is weaker and needs --no-strict.
        out: sigmoid keeps pixels in range; linear is the paper's, clipped in files.
        softmax: exact; dynamicvit is that of the paper's code, through which dropped tubelets leak
            in training.
        draw: how training draws what is kept: gumbel, each tubelet by itself, as in the paper;
            top-k, as many in each slot as are kept in use.
        sees: colours, as in the paper; or changes alone, grey levels less their mean over the
            frames of each tubelet, two or more: what does not move is not seen.
        inflation: how the weights of an image network are spread over the frames of a tubelet.
    """

    card = Card(
        hides="part of what its adversary read in training: pieces of the video are dropped, the "
        "others rewritten; which are dropped shows",
        undo="dropped tubelets no (strict); reconstructed ones as far as a trained network can",
        needs="training, or weights of a trained one",
        paper="Li et al. ICCV 2023",
    )
    full_frame = True
    learned = True
    resumable = True  # no window needs another
    selects_by_rank = True
    inference_args: ClassVar[tuple[str, ...]] = ("keep", "mode", "strict", "fill")
    presets: ClassVar[Presets] = {
        # ViT-S, kept tokens that attended to dropped ones, unbounded pixels
        "paper": {"strict": False, "out": "linear"},
        # the authors' public code, whose softmax lets dropped tokens leak
        "code": {"strict": False, "out": "linear", "softmax": "dynamicvit"},
        # a quarter of the parameters
        "vit-ti": {"width": 192, "heads": 3},
        # minutes on two CPU cores
        "tiny": {
            "frames": 8,
            "picture": (32, 32),
            "tubelet": (4, 4, 4),
            "width": 96,
            "heads": 3,
            "depth": 4,
            "places": (1, 2, 3),
            "fill": "mean",
            "draw": "top-k",
            "sees": "changes",
        },
    }

    def __init__(
        self,
        *,
        frames: Annotated[int, at_least(1, 1024)] = 16,
        picture: tuple[Side, Side] = (112, 112),
        tubelet: tuple[Side, Side, Side] = (2, 16, 16),
        width: Side = 384,
        heads: Annotated[int, at_least(1, 64)] = 6,
        depth: Annotated[int, at_least(1, 64)] = 12,
        places: tuple[Annotated[int, at_least(0, 64)], ...] = (3, 6, 9),
        keep: Share = 0.7,
        mode: Literal["full", "sparsify-only", "anonymize-only"] = "full",
        strict: bool = True,
        fill: Literal["black", "mean", "blur"] = "black",
        out: Literal["sigmoid", "linear"] = "sigmoid",
        softmax: Literal["exact", "dynamicvit"] = "exact",
        draw: Literal["gumbel", "top-k"] = "gumbel",
        sees: Literal["colours", "changes"] = "colours",
        inflation: Literal["average", "central"] = "average",
    ) -> None:
        super().__init__()
        if strict and fill == "blur":
            raise UsageError("fill blur shows what was dropped, blurred; it needs --no-strict.")
        if not places and mode != "anonymize-only":
            raise UsageError(f"stprivacy needs places to drop tubelets at in its mode {mode}.")
        if sees == "changes" and tubelet[0] < 2:  # which have none: everything would be grey
            raise UsageError(
                "tubelets of one frame show no changes; give --sees colours, or tubelets of more."
            )
        grid = [side // step for side, step in zip(picture, tubelet[1:], strict=True)]
        tokens = grid[0] * grid[1]
        if mode == "sparsify-only" and kept_counts(tokens, keep, len(places))[-1] >= tokens:
            raise UsageError(f"--keep {keep} drops no tubelet, and --mode {mode} shows the others.")
        self.window = self.frames = frames
        self.token_width = width
        self.picture, self.tubelet = tuple(picture), tuple(tubelet)
        self.width, self.heads, self.depth, self.places = width, heads, depth, tuple(places)
        self.keep, self.mode, self.strict, self.fill = keep, mode, strict, fill
        self.out, self.softmax, self.draw, self.inflation = out, softmax, draw, inflation
        self.sees = sees
        self.net = SparseViT(
            shape=(frames, *picture),
            tubelet=tubelet,
            width=width,
            depth=depth,
            heads=heads,
            places=places,
            softmax=softmax,
            inflation=inflation,
        )

    def size(self, height: int, width: int) -> tuple[int, int]:
        if self.mode == "sparsify-only":
            return height, width
        scale = min(1.0, max(self.picture[0] / height, self.picture[1] / width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def init_from_image_weights(self, path: str | Path) -> tuple[str, ...]:
        """Start from an image ViT's, DeiT's or DINO's weights, inflated over time."""
        return load_weights(self.net, path)

    def expected_metrics(self) -> dict[str, float]:
        """The share of tubelets that is kept after the last step, alpha to the power of steps.

        Drawn as in use it is one of whole tubelets, at least one of a slot.
        """
        if self.mode == "anonymize-only":
            return {}
        share = self.keep ** len(self.places)
        if self.draw == "top-k":
            share = self._counts[-1] / self.net.slot
        return {f"kept_{len(self.places)}": share}

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        total, step = clip.shape[2], self.frames
        outs, hidden = [], []
        for first in range(0, total, step):
            count = min(step, total - first)
            part = clip[:, :, first : first + count][:, :, back_and_forth(count, step)]
            picture, shown = self._anonymize_window(part.to(self.net.pos_embed.dtype))
            outs.append(picture[:, :, :count].clamp(0, 1))
            hidden.append(1 - shown[:, :, :count])
        return Anonymized(torch.cat(outs, 2).to(clip), torch.cat(hidden, 2).to(clip))

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        picture, shown = self._anonymize_window(clip, counted=True)
        return Anonymized(picture.clamp(0, 1), 1 - shown)

    def training_output(self, clip: Tensor, *, class_token: Tensor | None = None) -> TrainingOutput:
        """As it is trained: tubelets are kept at random, and every decision gets a gradient.

        Args:
            clip: (B, 3, T, H, W), RGB in [0, 1], T being `frames`.
            class_token: (1, 1, D), which goes through the layers beside the tubelets and is always
                kept (preprint, eq. 12).
        """
        small = self._preprocess(clip)
        draw = sample_keep if self.draw == "gumbel" else draw_top_k(self._counts)
        choose = None if self.mode == "anonymize-only" else draw
        only = self._masks_only and class_token is None
        tokens, masks = self.net.forward_masked(small, choose, masks_only=only, token=class_token)
        token = None
        if class_token is not None:
            token, tokens = tokens[:, 0], tokens[:, 1:]
        if self.mode == "anonymize-only":
            picture = self._reconstruct(tokens, clip, None)
            none = tokens.new_zeros(())  # all tubelets are kept, as they should be
            losses = {"ratio": none, "rebuilt": (picture - self.unhidden(clip)).abs().mean()}
            return TrainingOutput(picture, losses, class_token=token)
        if self.mode == "full" and self.strict:
            # Detached, as otherwise what is easy to reconstruct would be kept, or nothing at all.
            tokens = self.net.forward_kept(small, masks[-1].detach())
        raw = self.mode == "sparsify-only"
        picture = clip if raw else self._reconstruct(tokens, clip, None)
        shown = self._to_pixels(masks[-1], clip)
        output = self._fill(picture, shown, clip)
        # Over shown pixels, detached, so that the loss does not decide which tubelets are kept.
        error = (picture - self.unhidden(clip)).abs().mean(1, keepdim=True) * shown.detach()
        rebuilt = error.sum() / shown.detach().sum().clamp(min=1)
        metrics = {f"kept_{m}": mask.mean().item() for m, mask in enumerate(masks, 1)}
        keep = masks[-1].reshape(len(clip), *self.net.grid)
        losses = {"ratio": ratio_loss(masks, self.keep), "rebuilt": rebuilt}  # preprint eq. 11
        return TrainingOutput(output, losses, metrics, keep, token)

    def unhidden(self, clip: Tensor) -> Tensor:
        if self.sees == "colours" or self.mode == "sparsify-only":  # which shows kept pixels raw
            return clip
        return resize(self._seen(clip), clip.shape[3:])

    def _anonymize_window(self, clip: Tensor, *, counted: bool = False) -> tuple[Tensor, Tensor]:
        """The output of one window, and where tubelets are kept, (B, 1, T, H, W).

        `counted`: the number of kept tubelets follows from `keep` alone, as a graph needs it.
        """
        net = self.net
        counts, count = self._counts, None
        if counted:
            count = net.grid[0] * (net.slot if self.mode == "anonymize-only" else counts[-1])
        if self.mode == "anonymize-only":
            shape = (clip.shape[0], net.grid[0], net.slot)
            keep = torch.ones(shape, dtype=torch.bool, device=clip.device)
            tokens = net.forward_kept(self._preprocess(clip), keep, count)
        else:
            small, only = self._preprocess(clip), self._masks_only
            tokens, keep = net.forward_gathered(small, counts, masks_only=only)
        shown = self._to_pixels(keep.to(clip.dtype), clip)
        if self.mode == "sparsify-only":
            return self._fill(clip, shown, clip), shown
        if self.mode == "full" and self.strict:  # a second pass, from kept tubelets alone
            tokens = net.forward_kept(self._preprocess(clip, shown), keep, count)
        return self._fill(self._reconstruct(tokens, clip, keep), shown, clip), shown

    @property
    def _counts(self) -> tuple[int, ...]:
        """The tubelets that each step leaves of a slot."""
        return kept_counts(self.net.slot, self.keep, len(self.places))

    @property
    def _masks_only(self) -> bool:
        """Whether the pass that computes the keep masks is used for nothing else."""
        return self.strict or self.mode == "sparsify-only"

    def _preprocess(self, clip: Tensor, shown: Tensor | None = None) -> Tensor:
        """What the network sees of a clip, normalised, from its `shown` pixels alone."""
        small = self._seen(clip, shown)
        shape = (1, 3, 1, 1, 1)
        return (small - small.new_tensor(MEAN).view(shape)) / small.new_tensor(STD).view(shape)

    def _seen(self, clip: Tensor, shown: Tensor | None = None) -> Tensor:
        """The clip at the network's size, or its changes around a grey of .5, in [0, 1]."""
        small = resize(clip, self.picture, shown)
        if self.sees == "colours":
            return small
        grey = small.mean(1, keepdim=True)
        steps = grey.reshape(grey.shape[0], 1, -1, self.tubelet[0], *grey.shape[3:])
        changes = (steps - steps.mean(3, keepdim=True)).flatten(2, 3)  # (B, 1, T, H, W)
        return (0.5 + changes / (2 * MOST_CHANGE)).clamp(0, 1).expand_as(small)

    def _reconstruct(self, tokens: Tensor, clip: Tensor, keep: Tensor | None) -> Tensor:
        """The pixels of tokens, at the size of the clip; `keep` as in `SparseViT.decode`."""
        small = self.net.decode(tokens, keep)
        small = small.sigmoid() if self.out == "sigmoid" else small
        shown = None if keep is None else self._to_pixels(keep.to(small.dtype), small)
        return resize(small, clip.shape[3:], shown)

    def _to_pixels(self, keep: Tensor, clip: Tensor) -> Tensor:
        """(B, L, N) to (B, 1, T, H, W): each pixel belongs to the tubelet at its centre."""
        grid = keep.reshape(keep.shape[0], 1, *self.net.grid)
        return F.interpolate(grid, size=clip.shape[2:], mode="nearest-exact")

    def _fill(self, picture: Tensor, shown: Tensor, clip: Tensor) -> Tensor:
        """The reconstruction where it is shown, and the fill elsewhere."""
        kept = picture * shown
        if self.fill == "black":
            return kept
        if self.fill == "mean":
            over = (2, 3, 4)
            mean = kept.sum(over, keepdim=True) / shown.sum(over, keepdim=True).clamp(min=1)
            return kept + mean * (1 - shown)
        height, width = clip.shape[3:]
        soft = resize(
            area_resize(clip, min(BLUR_GRID, height), min(BLUR_GRID, width)), (height, width)
        )
        return kept + soft * (1 - shown)
