"""One file in, one anonymized file and its receipt out, or nothing at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from masquerade.anonymizer import Anonymizer, Pixels
from masquerade.checkpoint import described
from masquerade.device import choose_device
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.pipeline.config import (
    PipelineConfig,
    build_region_source,
    encoding_for,
    region_arguments,
    with_default_regions,
)
from masquerade.pipeline.constant_frame_rate import exact_rate, to_constant_rate
from masquerade.pipeline.receipt import (
    CoverageCounter,
    FileFacts,
    Receipt,
    config_hash,
    library_versions,
    noise_origin,
    region_records,
    sha256_of,
)
from masquerade.pipeline.stream import (
    AnonymizedFrame,
    Cover,
    StageTimer,
    anonymize_stream,
    closed,
    prefetch,
)
from masquerade.pipeline.verify import check, file_facts
from masquerade.regions.boxes import BoxWriter
from masquerade.storage import named, part_of, refuse_existing
from masquerade.video.audio import audio_streams, check_audio
from masquerade.video.encoding import Encoding
from masquerade.video.metadata import MetadataSelection, select_metadata
from masquerade.video.probe import VideoInfo, probe
from masquerade.video.read import Frame, Reader
from masquerade.video.write import Writer, container_for

Progress = Callable[[int, int | None], None]

SEED_WARNING = (
    "the noise comes from --seed: whoever knows it can undo the output; never release this file."
)


def anonymize_file(
    src: str | Path,
    dst: str | Path,
    anonymizer: Anonymizer,
    *,
    progress: Progress | None = None,
    **settings: Any,
) -> Receipt:
    """Anonymize a video, an image or a folder of images into a new file.

    The output appears whole and checked, or not at all.

    Args:
        src: the file, or with `sequence=RATE` a folder of images.
        dst: the file to make.
        anonymizer: the method, see `masquerade.build` and `masquerade.load`.
        progress: called with (frames done, frames in all or None).
        **settings: `pipeline.config.PipelineConfig` by name, such as regions="faces", audio="drop",
            seed=None.

    Raises:
        VideoError: the source cannot be read.
        UsageError: the settings contradict each other, or the destination exists.
        MissingError: a model, device or codec is not here.
        OutputError: the output failed its own check.
    """
    try:
        chosen = PipelineConfig(**settings)
    except TypeError as error:
        raise UsageError(f"anonymize_file: {error}.") from error
    return run(Path(src), Path(dst), anonymizer, chosen, progress=progress)


def run(
    src: Path,
    dst: Path,
    anonymizer: Anonymizer,
    settings: PipelineConfig,
    *,
    progress: Progress | None = None,
) -> Receipt:
    """`anonymize_file` with its settings as one value."""
    try:
        settings = with_default_regions(settings, anonymizer)
        _refuse(src, dst, settings)
        if settings.seed is not None:
            warnings.warn(SEED_WARNING, stacklevel=2)
        job = _Job(src, dst, anonymizer, settings, progress)
        receipt = job.look() if settings.shadow else job.write()
        _write_receipt(receipt, dst, settings)
        return receipt
    except MasqueradeError as error:
        raise type(error)(named(str(error), dst)) from error
    except OSError as error:
        raise MasqueradeError(f"{dst.name}: {error.strerror or error}.") from error


def receipt_path(dst: Path, settings: PipelineConfig) -> Path:
    """Where the receipt of an output goes."""
    return settings.report or dst.with_name(dst.name + ".receipt.json")


def _refuse(src: Path, dst: Path, settings: PipelineConfig) -> None:
    """Raise for what can be known before any work."""
    if not src.exists():
        raise VideoError(f"{src} does not exist; check the name.")
    if dst.exists() and dst.samefile(src):
        raise UsageError(f"{src} would be its own output; choose another -o.")
    outputs = [settings.export_boxes, settings.export_masks]
    if settings.receipt or settings.shadow:
        outputs.append(receipt_path(dst, settings))
    if not settings.shadow:
        outputs.append(dst)
    named = [path for path in outputs if path]
    for path in named:
        refuse_existing(path, overwrite=settings.overwrite)
        if path.exists() and path.samefile(src):
            raise UsageError(f"{path} is the source itself; choose another name.")
    if len(set(named)) < len(named):
        raise UsageError("two outputs have one name; give each its own.")
    if settings.amp and choose_device(settings.device).type != "cuda":
        raise UsageError("--amp needs a CUDA device; leave it out, or add --device cuda.")


def _write_receipt(receipt: Receipt, dst: Path, settings: PipelineConfig) -> None:
    if settings.receipt or settings.shadow:
        shown = receipt.public() if settings.public_receipt else receipt
        with part_of(receipt_path(dst, settings), overwrite=settings.overwrite) as part:
            part.write_text(shown.to_json(), "utf-8")


class _Job:
    """One run over one file."""

    def __init__(
        self,
        src: Path,
        dst: Path,
        anonymizer: Anonymizer,
        settings: PipelineConfig,
        progress: Progress | None,
    ) -> None:
        self.src, self.dst, self.settings, self.progress = src, dst, settings, progress
        self.device = choose_device(settings.device)
        self.anonymizer = anonymizer.to(self.device).eval()
        self.source = build_region_source(settings)
        self.encoding = encoding_for(settings)
        self.container = container_for(dst, self.encoding)
        self.rate = (
            Fraction(settings.sequence).limit_denominator(1001) if settings.sequence else None
        )
        self.info = probe(src, rate=self.rate)
        self.sound = audio_streams(self.info) if settings.audio != "drop" else ()
        check_audio(self.info, settings.audio, self.container)
        with Reader(src, rate=self.rate) as reader:
            self.passing = select_metadata(reader, settings.metadata, audio=self.sound)
        self.stages, self.tally = StageTimer(), CoverageCounter()
        self.frames = self.written = 0

    def look(self) -> Receipt:
        """Find what would be hidden and write nothing."""
        with ExitStack() as stack:
            reader = self._reader(stack, ())
            boxes, _ = self._exports(stack, self.info)
            for item in self._rewritten(stack, reader):
                self._count(item, boxes)
        return self._receipt(reader, None)

    def write(self) -> Receipt:
        """Anonymize the file."""
        with part_of(self.dst, overwrite=self.settings.overwrite) as part:
            with ExitStack() as stack:
                reader = self._reader(stack, (*self.passing.streams, *self.sound))
                writer = self._writer(stack, part, reader)
                boxes, masks = self._exports(stack, self.info)
                pictures = prefetch(
                    self._painted(self._timed(self._rewritten(stack, reader)), writer)
                )
                for item, picture in stack.enter_context(closing(pictures)):  # type: ignore[type-var]
                    if not isinstance(item, AnonymizedFrame):
                        writer.copy(item)
                        continue
                    self._count(item, boxes)
                    with self.stages.busy("encode"):
                        writer.write(picture, item.frame)
                        if masks:
                            masks.write(_as_picture(item), item.frame)
            if self.settings.fail_if_none and not any(self.tally.share):
                raise MasqueradeError(
                    f"nothing to hide was found in {self.src.name}, so there is no output."
                )
            others = len(self.passing.streams) + len(self.sound)
            output = check(part, self.dst, frames=self.written, others=others)
        return self._receipt(reader, output)

    def _reader(self, stack: ExitStack, copy: Sequence[int]) -> Reader:
        settings = self.settings
        return stack.enter_context(
            Reader(
                self.src,
                copy=copy,
                salvage=settings.salvage,
                force_8bit=settings.force_8bit,
                rate=self.rate,
                threads=settings.threads,
            )
        )

    def _writer(self, stack: ExitStack, part: Path, reader: Reader) -> Writer:
        info, settings, passing = self.info, self.settings, self.passing
        copied = (*passing.streams, *(self.sound if settings.audio == "keep" else ()))
        voices = self.sound if settings.audio == "pitch" else ()
        if settings.size == "model":
            height, width = self.anonymizer.size(info.height, info.width)
            info = replace(info, height=height, width=width)
        return stack.enter_context(
            Writer(
                part,
                info=info,
                container=self.container,
                encoding=self.encoding,
                copies=[reader.stream(index) for index in copied],
                voices=[reader.stream(index) for index in voices],
                tags=passing.tags,
                stream_tags=passing.stream_tags,
                chapters=passing.chapters,
                force_8bit=settings.force_8bit,
            )
        )

    def _exports(self, stack: ExitStack, info: VideoInfo) -> tuple[BoxWriter | None, Writer | None]:
        """Where boxes and masks go, if anywhere; both appear whole or not at all."""
        settings, boxes, masks = self.settings, None, None
        if settings.export_boxes:
            part = stack.enter_context(part_of(settings.export_boxes, overwrite=settings.overwrite))
            boxes = stack.enter_context(BoxWriter(part, width=info.width, height=info.height))
        if settings.export_masks:
            part = stack.enter_context(part_of(settings.export_masks, overwrite=settings.overwrite))
            encoding = Encoding(codec="ffv1", threads=settings.threads)
            masks = stack.enter_context(
                Writer(
                    part,
                    info=replace(info, rotation=0, mirrored=False, bit_depth=8),
                    container=container_for(settings.export_masks, encoding),
                    encoding=encoding,
                )
            )
        return boxes, masks

    def _rewritten(self, stack: ExitStack, reader: Reader) -> Iterator[Any]:
        settings, info = self.settings, self.info
        within = _within(settings.region, info) if settings.region else None
        shape: Any = settings.shape or getattr(self.source, "shape", "ellipse")
        items = anonymize_stream(
            _before(reader, settings.preview),
            self.anonymizer,
            self.source,
            cover=Cover(shape, settings.mask_scale, settings.feather, within, settings.outside),
            seed=settings.seed,
            digest=bytes.fromhex(sha256_of(self.src)) if self.anonymizer.keyed else None,
            batch=settings.batch_size,
            amp=settings.amp,
            stages=self.stages,
        )
        return stack.enter_context(closing(items))  # type: ignore[type-var]

    def _painted(self, items: Iterator[Any], writer: Writer) -> Iterator[tuple[Any, Any]]:
        """Each item, and the picture to encode if it is a frame."""
        with closed(items):
            for item in items:
                if not isinstance(item, AnonymizedFrame):
                    yield item, None
                    continue
                with self.stages.busy("paint"):
                    picture = writer.painted(_sized(item.pixels, writer.info))
                yield item, picture

    def _timed(self, items: Iterator[Any]) -> Iterator[Any]:
        """Frames at the source's times, or at a constant rate where that is asked for."""
        rate = exact_rate(self.settings.cfr)
        if rate is None:
            return items
        return to_constant_rate(items, rate)

    def _count(self, item: Any, boxes: BoxWriter | None) -> None:
        """Add a frame to the receipt. A frame that a constant rate repeats counts once."""
        if not isinstance(item, AnonymizedFrame):
            return
        self.written += 1
        if item.frame.index < self.frames:
            return
        self.frames += 1
        region, mask = item.region, item.mask
        share = 1.0 if mask is None else cv2.countNonZero(mask) / mask.size
        self.tally.add(region.boxes, share=share, everywhere=region.everywhere, cut=region.cut)
        if boxes:
            boxes.add(item.frame.index, region.boxes)
        if self.progress:
            self.progress(self.frames, self.info.frames)

    def _receipt(self, reader: Reader, output: FileFacts | None) -> Receipt:
        settings, info = self.settings, self.info
        method = described(self.anonymizer)
        chosen = settings.as_dict()
        doubts = [SEED_WARNING] if settings.seed is not None else []
        if not any(self.tally.share):
            doubts.append("nothing was found to hide: look at the output before it is released.")
        return Receipt(
            source=file_facts(self.src, self.src, info, self.frames),
            output=output,
            method=method,
            regions=region_records(region_arguments(settings), self.source),
            settings=chosen,
            coverage=self.tally.coverage(),
            noise=noise_origin(settings.seed, keyed=self.anonymizer.keyed),
            audio=settings.audio if audio_streams(info) else "there was none",
            removed=self.passing.removed,
            kept=_kept(self.passing, info, self.sound),
            warnings=tuple(doubts),
            mended_timestamps=reader.mended,
            damaged_frames=reader.damaged,
            device=str(self.device),
            stage_seconds={key: round(s, 3) for key, s in self.stages.seconds.items()},
            versions=library_versions(),
            settings_sha256=config_hash({**chosen, **method}),
        )


def _kept(passing: MetadataSelection, info: VideoInfo, sound: Sequence[int]) -> tuple[str, ...]:
    """Names of all that passes beside the picture."""
    going = {*passing.streams, *sound}
    streams = [f"stream{s.index} ({s.kind}, {s.codec})" for s in info.streams if s.index in going]
    tags = [f"stream{i}:{name}" for i, held in passing.stream_tags.items() for name in held]
    chapters = [f"{len(passing.chapters)} chapters"] if passing.chapters else []
    return (*passing.tags, *tags, *streams, *chapters)


def _before(reader: Reader, seconds: float | None) -> Iterator[Any]:
    """What a reader gives, up to a time after the first frame."""
    first: float | None = None
    for item in reader:
        if seconds is not None and isinstance(item, Frame):
            first = item.time if first is None else first
            if item.time - first >= seconds:
                return
        yield item


def _within(path: Path, info: VideoInfo) -> Any:
    """The image that limits where anything is hidden, (H, W)."""
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise UsageError(f"{path} is no image that can be read; give --region a PNG.")
    if mask.shape != (info.height, info.width):
        raise UsageError(
            f"{path.name} is {mask.shape[1]}x{mask.shape[0]}, but the video is "
            f"{info.width}x{info.height}: give --region an image of its size."
        )
    return mask


def _sized(pixels: Pixels, info: VideoInfo) -> Pixels:
    """Pixels at the size that is written."""
    if pixels.shape[:2] == (info.height, info.width):
        return pixels
    return cv2.resize(pixels, (info.width, info.height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _as_picture(item: AnonymizedFrame) -> Pixels:
    """A mask as a grey picture."""
    height, width = item.pixels.shape[:2]
    mask = np.full((height, width), 255, np.uint8) if item.mask is None else item.mask
    return np.repeat(mask[..., None], 3, axis=2)
