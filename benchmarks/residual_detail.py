"""How much fine detail each method leaves, how much defects leave, and what the check costs.

    python benchmarks/residual_detail.py --videos clip.mp4 --seconds 0.5

Every method runs at its default and its presets over the whole of each video and over its faces,
defects (a method that returns its input, masks that are shifted or late) over the whole of it at
several codecs. Learned methods are built anew, with random weights of the seed. The table gives the
largest share of detail that any region of any frame kept; the last line the wall time with the
check over that without it, each the best of three runs.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.cli.demo_clip import compose
from masquerade.methods import METHODS, PRESETS, build
from masquerade.pipeline import single_file

CODECS = {"h264": "mp4", "h265": "mp4", "vp9": "webm", "av1": "mp4", "mjpeg": "mov", "ffv1": "mkv"}


class Unchanged(Anonymizer):
    """A defect: returns its input."""

    card = Card("", "", "", "")

    def forward(self, clip: Any, *, mask: Any = None, state: Any = None) -> Anonymized:
        return Anonymized(clip, mask, state)


def methods(seed: int) -> dict[str, Anonymizer]:
    found = {}
    for name, method in METHODS.items():
        if method.learned:
            torch.manual_seed(seed)
            found[name] = PRESETS[name]["tiny"]().eval()
            found[name].trained = True
            continue
        found[name] = build(name)
        for preset, arguments in method.presets.items():
            if not method.learned:
                found[f"{name}, {preset}"] = build(name, **arguments)
    return found


def left(src: Path, dst: Path, method: Anonymizer, **settings: Any) -> float:
    """The largest share of detail in the receipt of one run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        receipt = masquerade.anonymize_file(
            src, dst, method, overwrite=True, allow_empty=True, allow_gaps=True, **settings
        )
    return receipt.residual_detail.left if receipt.residual_detail else 0.0


def seconds(src: Path, dst: Path, method: Anonymizer, *, checked: bool) -> float:
    """Wall time of a whole video, with the check or without it."""
    compare = single_file._FileRun._compare
    if not checked:
        single_file._FileRun._compare = lambda *_: None  # type: ignore[method-assign,assignment,return-value]
    began = time.perf_counter()
    left(src, dst, method)
    single_file._FileRun._compare = compare  # type: ignore[method-assign]
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=Path, nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    single_file.MAX_LEFT = 2.0  # type: ignore[misc] # measure, and refuse nothing
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        demo, out = Path(folder) / "demo.mp4", Path(folder) / "out.mp4"
        compose(demo, seconds=2)
        videos = [demo, *options.videos]
        print("| method | whole frame | faces |\n| --- | --- | --- |")
        for name, method in methods(options.seed).items():
            ways = ("frame",) if method.full_frame or method.regions_only else ("frame", "faces")
            cells = [
                max(left(v, out, method, regions=r, preview=options.seconds) for v in videos)
                for r in ways
            ]
            print(f"| {name} |", " | ".join(f"{100 * cell:.1f} %" for cell in cells), flush=True)
        METHODS["unchanged"] = Unchanged  # a receipt needs a name
        print("\n| unchanged input | least |\n| --- | --- |")
        for codec, suffix in CODECS.items():
            done = out.with_suffix("." + suffix)
            settings = {"regions": "frame", "preview": options.seconds, "codec": codec}
            least = min(left(v, done, Unchanged(), **settings) for v in videos)
            print(f"| {codec} | {100 * least:.0f} % |", flush=True)
        times = [
            min(seconds(demo, out, build("selective"), checked=checked) for _ in range(3))
            for checked in (True, False)
        ]
        print(f"\nwall time with the check over that without it: {times[0] / times[1]:.2f}")


if __name__ == "__main__":
    main()
