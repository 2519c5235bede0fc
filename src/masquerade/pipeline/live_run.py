"""One live run: a source is opened, its frames are anonymized, and sent on as they come."""

import copy
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

from masquerade.anonymizer import Anonymizer, Pixels
from masquerade.checkpoint import describe
from masquerade.device import check_half, choose_device
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.object_store import refuse_address
from masquerade.output_paths import refuse_existing
from masquerade.pipeline.config import (
    Pipeline,
    build_region_source,
    encoding_for,
    region_arguments,
    source_names,
    with_default_regions,
)
from masquerade.pipeline.live import LiveCounts, LiveFrame, LiveRun
from masquerade.pipeline.live_config import LiveConfig
from masquerade.pipeline.memory import check_memory
from masquerade.pipeline.outputs import outdated_receipts
from masquerade.pipeline.receipt import (
    FileFacts,
    RegionRecord,
    library_versions,
    region_records,
)
from masquerade.pipeline.stall_watchdog import StallWatchdog
from masquerade.pipeline.verify import file_facts, verify_output
from masquerade.storage import error_with_final_name
from masquerade.transaction import recover, transaction
from masquerade.video.addresses import check_protocol, parse_address
from masquerade.video.encoding import IMAGES, Codec, check_encoder, codec_for, container_for
from masquerade.video.live_decoding import TICKS
from masquerade.video.live_output import ReconnectingWriter, check_codec, wait_for_reader
from masquerade.video.live_source import LiveSource, age, recording_refused
from masquerade.video.probe import RECEIPT_SUFFIX, VideoInfo
from masquerade.video.timestamps import FrameTime
from masquerade.video.write import Writer

VERSION = 1  # of the format of receipts of live runs
SCALE = "640"  # longest side of what faces are looked for in, where none is named: speed is privacy


def build_live_pipeline(anonymizer: Anonymizer, config: LiveConfig) -> Pipeline:
    """The method on its device, with region sources that read no more than one frame ahead.

    Raises:
        UsageError: the settings contradict each other or need later frames.
        MissingError: a model or the device is not here.
    """
    device = choose_device(config.device)
    if config.amp:
        check_half(device)
    full = with_default_regions(config.for_pipeline(), anonymizer)
    if full.scale is None and "faces" in source_names(full):
        full = replace(full, scale=SCALE)
    regions = build_region_source(full, anonymizer, online=True)
    # the caller's own may be in training, and stays where it is
    return Pipeline(copy.deepcopy(anonymizer).to(device).eval(), full, regions)


@dataclass(frozen=True, kw_only=True)
class LiveReceipt:
    """What became of the frames of one live run. It names neither address nor place.

    What it shares with a `Receipt`, which has a source that is a file, is called the same there.
    """

    source: str  # camera, network or pipe
    destination: str
    output: FileFacts | None  # the recording; None: frames were sent on, and nothing was recorded
    method: dict[str, Any]
    regions: tuple[RegionRecord, ...]
    settings: dict[str, Any]
    seconds: float
    pictures: int  # that the source gave
    dropped: int  # of these: a newer one had come before they were looked at
    late: int
    refused: int  # detail of what was to be hidden was still there
    shown: int
    hidden_whole: int  # of those shown: nobody was found in them
    empty: int  # of those shown: nothing was fully hidden in them, which was allowed
    reconnections: int
    sent_late: int  # of those shown: encoding or the network took them beyond the bound
    unsent: int  # of those shown: the destination was gone
    latency_median: float | None  # seconds from a frame's arrival until it is encoded and sent on
    latency_95: float | None
    max_latency: float
    stage_seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=library_versions)
    warnings: tuple[str, ...] = ()
    kind: Literal["live"] = "live"
    receipt: int = VERSION

    def to_json(self) -> str:
        """The receipt as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"


OnFrame = Callable[[LiveFrame, LiveCounts, int], None]  # with the pictures that came so far


class LiveSession:
    """A source and a destination that frames go through until `stop`, or the source is lost.

    Args:
        source: where video comes from: rtsp://..., /dev/video0, a pipe, or - for standard input.
        destination: where it goes: rtsp://..., rtmp://..., /dev/video9, a pipe, -, or a file.
        anonymizer: the method.
        config: how.
        say: what a sentence is given to when the source is lost or the work on a picture hangs,
            when it goes on, and when no frame was shown for long.

    Raises:
        UsageError: the settings contradict each other, the source is a recording, or the
            destination exists.
        MissingError: a model or device is not here.
        VideoError: the source cannot be opened.
        OutputError: what was to be hidden was still there in many frames; no file is left then.
    """

    def __init__(
        self,
        source: str,
        destination: str,
        anonymizer: Anonymizer,
        config: LiveConfig,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.config = config
        self.source = parse_address(source)
        self.destination = parse_address(destination, output=True)
        if self.destination.text != "-" and self.destination.text == self.source.text:
            raise UsageError("source and destination are the same; name another destination.")
        self._refuse_what_changes_nothing()
        if self.source.text == "-" and _is_recording(sys.stdin):
            raise recording_refused(self.source.name)
        report = self.report
        if report is not None:
            refuse_address(report, "--report")
        if self.destination.kind == "file":
            file = Path(self.destination.text)
            if file.is_dir() or destination.endswith("/"):
                raise UsageError(f"{file} names a folder; name a file in it: {file / 'safe.mp4'}")
            refused = {name: "be a picture, which holds no recording" for name in IMAGES}
            refused["avi"] = "count frames, and not keep when each of them came"
            if why := refused.get(container_for(file, self._encoding(codec_for(file)))):
                raise UsageError(
                    f"{file} would {why}; let its name end in .mp4, .mkv, .mov or .webm."
                )
            if report is not None and report.resolve() == file.resolve():
                raise UsageError(f"{file} is the video; name another file by --report.")
            refuse_existing(file, overwrite=config.overwrite)
        else:
            check_codec(self.destination, self._encoding("h264").codec)
        for address in (self.source, self.destination):
            check_protocol(address)
        if report is not None:
            refuse_existing(report, overwrite=config.overwrite)
        self.pipeline = build_live_pipeline(anonymizer, config)
        self._method = describe(self.pipeline.anonymizer)  # which may refuse it
        self._input = LiveSource(
            self.source,
            size=config.camera_size,
            rate=config.camera_rate,
            stall=config.stall,
            reconnect=config.reconnect,
            say=say,
        )
        self._watchdog = StallWatchdog(config.stall, say)
        self._say = say
        self._lost: str | None = None
        self._failure: MasqueradeError | None = None  # which ended a run that had sent frames
        self.opened = False  # whether the source gave a picture, and the destination takes some

    def stop(self) -> None:
        """End after the frame that is worked on; a signal handler or a thread may call it."""
        self._input.stop()

    def run(self, on_frame: OnFrame | None = None) -> LiveReceipt:
        """Anonymize until the end; a file appears then, whole and checked, or not at all.

        Its receipt appears with it, and that of another destination, if it is asked for, behind it,
        also where an error ends what was sent until then.
        """
        # before the source is opened, whose pictures would be late by the time they are read
        reader = wait_for_reader(self.destination, lambda: self._input.stopped)
        with reader, self._input as source, self._watchdog:
            began = time.monotonic()
            config = self.pipeline.config
            window = self.pipeline.anonymizer.window or config.batch_size
            check_memory(source.info, self.pipeline.regions, window)
            run = LiveRun(
                self.pipeline, info=source.info, max_latency=self.config.max_latency, age=age
            )
            pictures = self._watched(self._in_time(source), run.counts)
            frames = self._until_lost(run(self._watchdog(pictures)))
            if self.destination.kind == "file":
                try:
                    return self._write_file(frames, run, on_frame, began)
                except MasqueradeError as error:
                    raise error_with_final_name(error, Path(self.destination.text)) from error
            with transaction(overwrite=self.config.overwrite) as appear:
                if self.report is not None:
                    appear(self.report)  # before the first frame: where it fails, nothing was sent
                try:
                    self._send(frames, run, on_frame)
                except MasqueradeError as error:
                    if not run.counts.sent:
                        raise
                    self._failure = error
                receipt = self._receipt(run, time.monotonic() - began)
                if self.report is not None:
                    appear(self.report).write_text(receipt.to_json(), "utf-8")
        if self._failure is not None:
            raise self._failure
        return receipt

    @property
    def report(self) -> Path | None:
        """The path at which a receipt is written; None: no receipt is wanted."""
        if self.config.report is None and self.destination.kind == "file":
            return Path(self.destination.text + RECEIPT_SUFFIX)
        return self.config.report

    def _refuse_what_changes_nothing(self) -> None:
        """Refuse settings of a camera, or of an encoder, where there is none."""
        config = self.config
        camera = {"--camera-size": config.camera_size, "--camera-rate": config.camera_rate}
        encoder = {
            "--codec": config.codec,
            "--crf": config.crf,
            "--encoder-preset": config.encoder_preset,
            "--bitrate": config.bitrate,
            "--hwaccel": config.hwaccel if config.hwaccel != "none" else None,
        }
        if self.source.kind != "camera" and (flag := _given(camera)):
            raise UsageError(f"{flag} is asked of a camera such as /dev/video0; leave it out.")
        if self.destination.kind == "camera" and (flag := _given(encoder)):
            raise UsageError(f"nothing is encoded for a virtual camera; leave {flag} out.")

    def _in_time(self, source: LiveSource) -> Iterator[Any]:
        until = self.config.duration
        if until is None:
            yield from source
            return
        first: float | None = None
        # Where no picture comes any more, none says that the time is over.
        clock = threading.Timer(until, self.stop)
        clock.daemon = True
        try:
            for frame in source:
                if first is None:
                    first = frame.time
                    clock.start()
                if frame.time - first >= until:
                    return
                yield frame
        finally:
            clock.cancel()

    def _watched(self, pictures: Iterator[Any], counts: LiveCounts) -> Iterator[Any]:
        """The same pictures; it is said, once each time, that for long none of them was shown."""
        shown, dropped, since, warned = -1, 0, 0.0, False
        for picture in pictures:
            now = time.monotonic()
            if counts.shown != shown:
                shown, dropped, since, warned = counts.shown, _dropped(counts), now, False
            elif not warned and now - since > self.config.stall and _dropped(counts) > dropped:
                warned = True
                why = " ".join(self._warnings(counts))
                self._say(f"nothing has been shown for {self.config.stall:g} s: {why}")
            yield picture

    def _until_lost(self, frames: Iterator[LiveFrame]) -> Iterator[LiveFrame]:
        """The frames until the source is gone for good; what was shown until then stays."""
        try:
            yield from frames
        except VideoError as error:
            self._lost = str(error)

    def _encoding(self, default: Codec) -> Any:
        return encoding_for(self.config.for_pipeline(), default, threads=self.config.threads)

    def _write_file(
        self, frames: Iterator[LiveFrame], run: LiveRun, on_frame: OnFrame | None, began: float
    ) -> LiveReceipt:
        file = Path(self.destination.text)
        recover(file.parent)
        encoding = self._encoding(codec_for(file))
        container = container_for(file, encoding)
        overwrite, written = self.config.overwrite, [path for path in (file, self.report) if path]
        outdated = outdated_receipts(file, written) if overwrite else []
        with transaction(overwrite=overwrite, remove=outdated) as appear:
            part = appear(file)
            if self.report is not None:
                appear(self.report)  # before the first frame: where it fails, no recording is lost
            info = _output_info(self._input.info)
            with Writer(part, info=info, container=container, encoding=encoding) as writer:
                self.opened = True
                self._write(frames, partial(_write_frame, writer), run, on_frame)
            if not run.counts.shown:
                raise VideoError(f"no frame was shown, so there is no file: {self._reason(run)}")
            output = verify_output(part, file, others=0)
            facts = file_facts(part, file, output, run.counts.shown)
            receipt = self._receipt(run, time.monotonic() - began, output=facts)
            if self.report is not None:
                appear(self.report).write_text(receipt.to_json(), "utf-8")
        return receipt

    def _send(self, frames: Iterator[LiveFrame], run: LiveRun, on_frame: OnFrame | None) -> None:
        info, encoding = _output_info(self._input.info), self._encoding("h264")
        if self.destination.kind != "camera":
            check_encoder(encoding, width=info.width, height=info.height, deep=False)
        with ReconnectingWriter(
            self.destination,
            info=info,
            encoding=encoding,
            seconds=self.config.reconnect,
            say=self._say,
        ) as writer:
            self.opened = True
            self._write(frames, writer.write, run, on_frame)

    def _write(
        self,
        frames: Iterator[LiveFrame],
        write: Callable[[Pixels, FrameTime], bool],
        run: LiveRun,
        on_frame: OnFrame | None,
    ) -> None:
        first: int | None = None
        step = max(1, round(TICKS / self._input.info.rate))
        for live_frame in frames:
            first = live_frame.frame.pts if first is None else first
            at = FrameTime(live_frame.frame.pts - first, step, live_frame.frame.time_base)
            run.sent(live_frame, taken=write(live_frame.pixels, at))
            if on_frame is not None:
                on_frame(live_frame, run.counts, self._input.pictures)

    def _reason(self, run: LiveRun) -> str:
        """Why no frame was shown, in a sentence."""
        if why := [*filter(None, [self._lost]), *self._warnings(run.counts)]:
            return " ".join(why)
        if not self.pictures:
            return f"{self.source.name} ended before it gave a picture."
        return f"it ended before any of its {self.pictures} pictures was anonymized."

    def _warnings(self, counts: LiveCounts) -> list[str]:
        """What went wrong besides a loss of the source, in sentences that name no address."""
        warned = []
        if counts.refused:
            warned.append(
                f"{counts.refused} frames were dropped because detail of what was to be hidden was "
                "still in them."
            )
        if counts.late:
            warned.append(
                f"{counts.late} frames came later than {self.config.max_latency:g} s and were "
                "dropped; choose a smaller --scale, or a longer --max-latency."
            )
        if self._watchdog.longest > self.config.stall:
            warned.append(
                f"nothing was shown for {self._watchdog.longest:.0f} s while one picture was "
                "worked on: the detector, the method, the encoder or the destination hung."
            )
        if counts.sent_late:
            warned.append(
                f"{counts.sent_late} frames were sent on later than {self.config.max_latency:g} s, "
                "since encoding or the network took longer; choose a faster --encoder-preset, or "
                "look at the destination."
            )
        if counts.unsent:
            warned.append(f"{counts.unsent} frames were taken by nobody: the destination was gone.")
        return warned

    def _receipt(
        self, run: LiveRun, seconds: float, *, output: FileFacts | None = None
    ) -> LiveReceipt:
        counts, pictures = run.counts, self._input.pictures
        anonymizer, config = self.pipeline.anonymizer, self.pipeline.config
        # Why is for who is there: it names the source, and may quote what that sent.
        lost = ["the source was lost for good."] if self._lost else []
        if self._failure is not None:
            lost.append(
                "it ended early: the destination was gone for good, or frames were not anonymized."
            )
        looked_at = counts.shown + _dropped(counts)
        return LiveReceipt(
            source=self.source.kind,
            destination=self.destination.kind,
            output=output,
            method=self._method,
            regions=region_records(region_arguments(config, anonymizer), self.pipeline.regions),
            settings=self.pipeline.settings(),
            seconds=round(seconds, 1),
            pictures=pictures,
            dropped=max(0, pictures - looked_at),
            late=counts.late,
            refused=counts.refused,
            shown=counts.shown,
            hidden_whole=counts.hidden_whole,
            empty=counts.empty,
            reconnections=self._input.reconnections,
            sent_late=counts.sent_late,
            unsent=counts.unsent,
            latency_median=counts.latency(0.5),
            latency_95=counts.latency(0.95),
            max_latency=self.config.max_latency,
            stage_seconds={key: round(s, 3) for key, s in run.timer.seconds.items()},
            warnings=(*lost, *self._warnings(counts)),
        )

    @property
    def pictures(self) -> int:
        """How many pictures the source gave so far."""
        return self._input.pictures

    @property
    def lost(self) -> str | None:
        """Why the source was lost for good, in a sentence; None: it was not."""
        return self._lost


def _given(options: dict[str, Any]) -> str:
    """The name of the first option that was given; empty: none was."""
    return next((name for name, value in options.items() if value is not None), "")


def _is_recording(stream: Any) -> bool:
    """Whether a stream is a regular file, all of which is there at once."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # closed, or of Python alone
        return False


def _write_frame(writer: Writer, pixels: Pixels, time: FrameTime) -> bool:
    """Write a frame to a file; always True, as a file takes every frame."""
    writer.write(pixels, time)
    return True


def _dropped(counts: LiveCounts) -> int:
    """Count the frames that were anonymized and not shown: too late, or refused."""
    return counts.late + counts.refused


def _output_info(info: VideoInfo) -> VideoInfo:
    """What the output is to be: the source's picture in ticks of its own, from zero."""
    return replace(info, time_base=Fraction(1, TICKS), start=0.0, bit_depth=8, bitrate=None)
