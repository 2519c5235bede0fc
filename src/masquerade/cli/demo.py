"""`masquerade demo`: anonymize a clip, and show before and after side by side with a report.

What imports torch is imported where it is used: the help does not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from masquerade.cli.progress import BatchProgress, summary
from masquerade.cli.readable_help import Box, parse_boxes
from masquerade.text import escape, readable

if TYPE_CHECKING:
    from masquerade.anonymizer import Pixels
    from masquerade.pipeline.receipt import Receipt
    from masquerade.transaction import Appear


@dataclass(frozen=True, kw_only=True)
class Options:
    """Anonymize a video with the defaults and show the result."""

    # yours; without it a clip is made from a portrait that comes with matplotlib.
    video: Positional[Path | None] = None
    # the folder for what is made. What an earlier demo left there is replaced.
    output: Annotated[Path, arg(aliases=["-o"])] = Path("out")
    method: str = "selective"  # how people are hidden.
    allow_empty: bool = False  # also show a video in which nobody was found.
    # also show one in which nobody was found in over 2 % of the frames between the first and the
    # last find.
    allow_gaps: bool = False


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    (options,) = parse_boxes(
        argv, {"": Box(Options)}, verb="masquerade demo", description=str(Options.__doc__)
    )
    from masquerade.cli.demo_clip import compose
    from masquerade.methods import build
    from masquerade.pipeline.config import PipelineConfig, build_pipeline
    from masquerade.pipeline.outputs import FileTask
    from masquerade.pipeline.single_file import run_file
    from masquerade.report.page import render_page

    source = options.video
    if source is None:
        source = options.output / "demo.mp4"
        compose(source)
    anonymized = options.output / f"{source.stem}_anonymized.mp4"
    beside = options.output / f"{source.stem}_side_by_side_private.mp4"
    about = options.output / f"{source.stem}_report.html"
    check_earlier(anonymized, beside, about)
    with BatchProgress(files=1, bar=True, quiet=False, verbose=False) as progress:
        bar = progress.start_file(FileTask(source, anonymized))
        config = PipelineConfig(
            overwrite=True, allow_empty=options.allow_empty, allow_gaps=options.allow_gaps
        )

        def show(receipt: Receipt, appear: Appear) -> None:
            frames = receipt.source.frames
            raw = appear(beside, private=True)
            stills = side_by_side(source, appear(anonymized), raw, frames=frames)
            page = readable(render_page(receipt, stills=stills))
            appear(about).write_text(page, "utf-8")

        pipeline = build_pipeline(build(options.method), config)
        receipt = run_file(source, anonymized, pipeline, progress=bar, also=show)
    for warning in receipt.warnings:
        print(f"warning: {escape(warning)}")
    print(f"result:  {escape(anonymized)}  ({summary(receipt)})")
    print(f"before and after: {escape(beside)}  (shows the original: not for release)")
    print(f"report:  {escape(about)}")
    return 0


def check_earlier(anonymized: Path, beside: Path, about: Path) -> None:
    """Refuse to replace an output, a comparison or a report that no demo wrote.

    A demo's report names the digest of its output.
    """
    from masquerade.errors import UsageError
    from masquerade.storage import file_digest

    page = about.read_text("utf-8", "replace") if about.exists() else ""
    if "anonymized</title>" not in page or "SHA-256" not in page:
        foreign = [path for path in (about, anonymized, beside) if path.exists()]
    else:
        foreign = (
            [anonymized] if anonymized.exists() and file_digest(anonymized) not in page else []
        )
    for path in foreign:
        raise UsageError(f"{path} is of no demo and would be replaced; choose another -o.")


def side_by_side(before: Path, after: Path, dst: Path, *, frames: int) -> list[Pixels]:
    """Write two videos side by side; returns four stills of the second."""
    import numpy as np

    from masquerade.video.encoding import Encoding
    from masquerade.video.frame import Frame
    from masquerade.video.read import Reader
    from masquerade.video.write import Writer

    wanted = {frames * i // 8 for i in (1, 3, 5, 7)}
    stills = []
    with (
        Reader(before, force_8bit=True) as left,
        Reader(after, force_8bit=True, trusted=True) as right,
    ):
        info = left.info
        wide = replace(right.info, width=2 * info.width, time_base=info.time_base, start=info.start)
        with Writer(dst, info=wide, container="mp4", encoding=Encoding()) as writer:
            for left_frame, right_frame in zip(left, right, strict=True):
                assert isinstance(left_frame, Frame) and isinstance(right_frame, Frame)
                pixels = right_frame.rgb()
                if left_frame.index in wanted:
                    stills.append(pixels)
                writer.write(np.hstack((left_frame.rgb(), pixels)).astype(np.uint8), left_frame)
    return stills
