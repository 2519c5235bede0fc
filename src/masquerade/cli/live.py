"""`masquerade live`: anonymize a camera, a network stream or a pipe while it is filmed.

Its help is made of what is imported here; what imports torch is imported where it is used.
"""

import os
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Self

from tyro.conf import Positional, arg

from masquerade.cli import INTERRUPTED
from masquerade.cli.arguments import default_method, parse_with_method
from masquerade.cli.option_boxes import DETECTION, MASK, TEMPLATE
from masquerade.cli.standard_streams import refuse_closed
from masquerade.errors import MasqueradeError, UsageError
from masquerade.pipeline.live_config import LiveConfig
from masquerade.text import escape

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer
    from masquerade.pipeline.live import LiveCounts, LiveFrame
    from masquerade.pipeline.live_run import LiveReceipt, LiveSession

EXAMPLE = "masquerade live rtsp://camera/stream -o safe.mp4"
BOXES = {
    "": "source output level regions method weights max_latency duration allow_empty overwrite",
    "source": "camera_size camera_rate stall reconnect",
    "detection": f"threshold {DETECTION}",
    "template": TEMPLATE,
    "mask": f"{MASK} outside",
    "method": "preset device amp",
    "output": "codec crf encoder_preset bitrate hwaccel threads report",
    "message": "json quiet",
}
"""The options in the boxes of the help; the short one shows the first."""
EVERY = 5.0  # seconds between two lines about how it goes


@dataclass(frozen=True, kw_only=True)
class Options(LiveConfig):
    """Anonymize live video: what is not hidden in time is not shown."""

    # rtsp://..., rtmp://..., udp://..., http://..., /dev/video0, a pipe, or - for standard input.
    source: Positional[str | None] = None
    # rtsp://..., rtmp://..., udp://..., a virtual camera such as /dev/video9, a pipe, - for the
    # standard output, or a file, which appears at the end.
    output: Annotated[str | None, arg(aliases=["-o"])] = None
    # how to hide it; `masquerade methods` lists them and what each can be told.
    method: str = "selective"
    preset: str | None = None  # a named set of the method's arguments, such as paper.
    weights: Path | None = None  # a trained anonymizer, a file or a training run's folder.
    json: bool = False  # print the receipt as JSON and nothing else.
    quiet: Annotated[bool, arg(aliases=["-q"])] = False  # print errors and warnings only.
    overwrite: Annotated[bool, arg(aliases=["-y"])] = False  # replace an existing output.

    def config(self) -> LiveConfig:
        """The part of the options that configures the run."""
        return LiveConfig(**{field.name: getattr(self, field.name) for field in fields(LiveConfig)})


def parse(argv: list[str]) -> tuple[Options, "Anonymizer"]:
    """Parse the options and build the anonymizer."""
    return parse_with_method(
        argv,
        Options,
        verb="masquerade live",
        example=EXAMPLE,
        default=default_method(argv, beside=("--method", "--regions", "--weights")),
        boxes=BOXES,
    )


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code: 0 when it was ended, 1 when the source was lost."""
    options, anonymizer = parse(argv)
    from masquerade.pipeline.live_run import LiveSession

    if options.source is None or options.output is None:
        raise UsageError(f"name a source and a destination, as in: {EXAMPLE}")
    for word, name in ((options.source, "stdin"), (options.output, "stdout")):
        if word == "-":
            refuse_closed(name)
    if options.json and _is_stdout(options.output):
        raise UsageError("--json would be written into the video on standard output; leave it out.")
    quiet = options.quiet or options.json
    session = LiveSession(
        options.source,
        options.output,
        anonymizer,
        options.config(),
        say=_say,
    )
    with _EndedBySignals(session) as ended:
        try:
            receipt = session.run(None if quiet else _Talk())
        except MasqueradeError as error:
            if ended.early:  # whatever waited for the source or the destination failed for that
                raise KeyboardInterrupt from error
            raise
    for warning in receipt.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.json:
        print(receipt.to_json(), end="")
    elif not quiet:
        _print_summary(receipt, options.output, session.report)
    if session.lost:
        print(f"masquerade: {session.lost}", file=sys.stderr)
        return 1
    return 0


class _EndedBySignals:
    """While it is entered, the first signal ends the session as it should end.

    A second signal interrupts the session: nothing is left then.
    """

    def __init__(self, session: "LiveSession") -> None:
        self._session = session
        self._before: dict[int, Any] = {}
        self.early = False  # before the source gave a picture, and the destination was open

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.getsignal(number)
            if self._before[number] is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        for signal_number, handler in self._before.items():
            signal.signal(signal_number, handler)
        self.early = not self._session.opened
        self._session.stop()


class _Talk:
    """Says how it goes on standard error, now and then."""

    def __init__(self) -> None:
        self._last, self._shown = 0.0, 0

    def __call__(self, frame: "LiveFrame", counts: "LiveCounts", pictures: int) -> None:
        now = monotonic()
        if INTERRUPTED.is_set():
            raise KeyboardInterrupt
        if not self._last:
            _say("the first frame is shown; Ctrl-C ends it.")
            self._last = now
        if now - self._last >= EVERY:
            rate = (counts.shown - self._shown) / (now - self._last)
            self._last, self._shown = now, counts.shown
            unseen = pictures - counts.shown
            nobody = f", {counts.unsent} taken by nobody" if counts.unsent else ""
            print(
                f"{rate:.0f} frames a second, {1000 * frame.latency:.0f} ms behind; {counts.shown} "
                f"shown, {unseen} dropped, {counts.hidden_whole} hidden whole{nobody}",
                file=sys.stderr,
            )


def _say(sentence: str) -> None:
    print(f"masquerade: {sentence}", file=sys.stderr)


def _is_stdout(output: str) -> bool:
    """Whether the video goes to standard output, also by another name, as /dev/stdout is."""
    try:
        return output == "-" or os.path.samestat(os.stat(output), os.fstat(1))
    except OSError:  # an address, a file that is not there yet, or no standard output
        return False


def _print_summary(receipt: "LiveReceipt", output: str, path: Path | None) -> None:
    stream = sys.stderr if _is_stdout(output) else sys.stdout
    behind = ""
    if receipt.latency_median is not None and receipt.latency_95 is not None:
        behind = (
            f", {1000 * receipt.latency_median:.0f} ms behind (95 % within "
            f"{1000 * receipt.latency_95:.0f})"
        )
    dropped = receipt.pictures - receipt.shown
    print(
        f"{receipt.shown} of {receipt.pictures} frames shown in {receipt.seconds:.0f} s{behind}; "
        f"{dropped} dropped, {receipt.hidden_whole} hidden whole because nobody was found",
        file=stream,
    )
    if receipt.destination == "file":
        print(f"{escape(output)}" + (f"  ({escape(path)})" if path else ""), file=stream)
