"""Anonymize one file: a verified output with its receipt appears, or nothing does."""

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from masquerade.anonymizer import Anonymizer, eval_mode
from masquerade.checkpoint import describe
from masquerade.device import check_half, choose_device
from masquerade.errors import MasqueradeError, OutputError, UsageError, VideoError
from masquerade.methods import method_name
from masquerade.pipeline.config import (
    CHOICE_FIELDS,
    EDITS_FIELDS,
    Pipeline,
    PipelineConfig,
    build_pipeline,
    encoding_for,
    followed_label,
    region_arguments,
    source_names,
)
from masquerade.pipeline.constant_frame_rate import exact_rate, to_constant_rate
from masquerade.pipeline.coverage import (
    CoverageCounter,
    check_file_coverage,
    coverage_warnings,
    template_warnings,
)
from masquerade.pipeline.encoded_check import EncodedCheck
from masquerade.pipeline.levels import build_level, measured_of
from masquerade.pipeline.memory import check_memory, give_memory_back, use_one_malloc_arena
from masquerade.pipeline.outputs import FileTask, check_outputs, config_of, receipt_path
from masquerade.pipeline.people_ids import parse_ids
from masquerade.pipeline.pictures import PictureMaker, mask_picture, output_info
from masquerade.pipeline.receipt import (
    FileFacts,
    Receipt,
    ResidualDetail,
    config_hash,
    library_versions,
    noise_origin,
    region_records,
)
from masquerade.pipeline.region_image import check_size, read_region_image
from masquerade.pipeline.residual_detail import DetailCheck
from masquerade.pipeline.source_file import check_source
from masquerade.pipeline.source_warnings import source_warnings
from masquerade.pipeline.stream import (
    AnonymizedFrame,
    StageTimer,
    anonymize_stream,
    closing_if_possible,
    cover_of,
    prefetch,
)
from masquerade.pipeline.verify import file_facts, verify_output
from masquerade.regions.boxes import BoxWriter
from masquerade.regions.exported_boxes import exported_boxes
from masquerade.storage import code_digest, computing_versions, error_with_final_name, file_digest
from masquerade.transaction import Appear, recover, transaction
from masquerade.video.audio import audio_streams, check_audio
from masquerade.video.decoding import StreamPacket
from masquerade.video.decoding_process import probe
from masquerade.video.encoding import (
    IMAGES,
    codec_for,
    container_for,
    lossless_for,
    pixel_format,
)
from masquerade.video.frame import Frame
from masquerade.video.metadata import MetadataSelection, select_metadata
from masquerade.video.probe import VideoInfo, video_digest, video_signature
from masquerade.video.read import Reader
from masquerade.video.rgb_to_yuv import has_same_planes
from masquerade.video.write import Writer

OnProgress = Callable[[int, int | None], None]
# Fields by which masks may differ, if only in the last frames or at edges: key frames go by time.
ALSO_MASKING = ("preview", "salvage", "decoder", "force_8bit", "size", "sequence", "cfr", "amp")
MASKED_BY = EDITS_FIELDS.union(ALSO_MASKING, ("edits",))
SEED_WARNING = (
    "the noise comes from --seed: whoever knows it can undo the output; never release this file."
)


def anonymize_file(
    src: str | Path,
    dst: str | Path,
    anonymizer: Anonymizer | None = None,
    *,
    progress: OnProgress | None = None,
    **settings: Any,
) -> Receipt:
    """Anonymize a video, an image or a folder of images into a new file.

    The output appears complete and verified, or not at all.

    Args:
        src: the file, or with `sequence=RATE` a folder of images.
        dst: the file to make.
        anonymizer: the method, see `masquerade.build` and `masquerade.load`; None: that of `level`,
            which is "person" where it is not given.
        progress: called with (frames done, about how many in all, or None), first with 0 done.
        **settings: fields of `pipeline.config.PipelineConfig`, such as regions="faces",
            level="person", audio="drop", seed=None.

    Raises:
        VideoError: the source cannot be read.
        UsageError: the settings contradict each other, or the destination exists.
        MissingError: a model, device or codec is not here.
        OutputError: the output failed its verification.
    """
    try:
        config = PipelineConfig(**settings)
    except TypeError as error:
        raise UsageError(f"anonymize_file: {error}.") from error
    try:
        if anonymizer is None and config.edits is None:
            anonymizer = build_level(config.level or "person")
        pipeline = build_pipeline(anonymizer, config)
        receipt = run_file(Path(src), Path(dst), pipeline, progress=progress)
        if config.seed is not None:  # commands print it from the receipt
            warnings.warn(SEED_WARNING, stacklevel=2)
        return receipt
    finally:
        give_memory_back()  # by now without the networks that find regions


def run_file(
    src: Path,
    dst: Path,
    pipeline: Pipeline,
    *,
    progress: OnProgress | None = None,
    also: Callable[[Receipt, Appear], None] | None = None,
) -> Receipt:
    """Anonymize one file with a pipeline that may serve many; see `anonymize_file`.

    `also` writes what is to appear together with the output, from its temporary file.
    """
    task = FileTask(src, dst)
    pipeline = pipeline._replace(config=config_of(task, pipeline.config, [task]))
    config = pipeline.config
    use_one_malloc_arena()
    try:
        check_source(src, sequence=config.sequence)
        for folder in {path.parent for path in task.outputs(config)}:
            recover(folder)
        check_outputs([task], config, overwrite=config.overwrite)
        if config.amp:
            check_half(choose_device(config.device))
        outputs = transaction(overwrite=config.overwrite, remove=task.outdated_receipts(config))
        with outputs as appear, eval_mode(pipeline.anonymizer):
            run_class = FileRun
            if config.parts > 1:
                from masquerade.pipeline.file_parts import PartedRun  # which derives from it

                run_class = PartedRun
            receipt = run_class(src, dst, pipeline, progress, appear).run()
            if config.receipt or config.shadow:
                published = receipt.published(config).to_json()
                appear(receipt_path(dst, config)).write_text(published, "utf-8")
            if also:
                also(receipt, appear)
        return receipt
    except MasqueradeError as error:
        raise error_with_final_name(error, dst) from error  # a variable for it would keep the run
    except OSError as error:
        raise MasqueradeError(f"{dst.name}: {error.strerror or error}.") from error


class FileRun:
    """The state of one run over one file. The source is probed once, and read once or twice."""

    def __init__(
        self,
        src: Path,
        dst: Path,
        pipeline: Pipeline,
        progress: OnProgress | None,
        appear: Appear,
    ) -> None:
        self.began = time.perf_counter()
        self.appear = appear
        self.src, self.dst, self.pipeline, self.progress = src, dst, pipeline, progress
        self.config = config = pipeline.config
        self.device = choose_device(config.device)
        self.anonymizer = pipeline.anonymizer.to(self.device)
        self.encoding = encoding_for(config, codec_for(dst), threads=config.threads)
        self.container = container_for(dst, self.encoding)
        self._seen = video_signature(src)
        self.info = probe(src, rate=exact_rate(config.sequence))
        if pipeline.edits is not None:
            pipeline.edits.check_source(self._source_sha256, src.name)
        window = self.anonymizer.window or config.batch_size
        check_memory(self.info, pipeline.regions, window)
        still = self.container in IMAGES and not IMAGES[self.container].moving
        picture = still and self.info.kind == "image"  # of a folder that holds videos, too
        self.rate = None if picture else exact_rate(config.cfr)
        self.sound = audio_streams(self.info) if config.audio != "drop" else ()
        check_audio(self.info, config.audio, self.container)
        self.metadata = MetadataSelection()
        self.timer = StageTimer()
        self.coverage = CoverageCounter(source_names(config), config.detector)
        self.contents = pipeline.contents()  # before these can be changed for the next run
        self.frames = self.written = 0
        self.hidden_ids: set[int] = set()
        self.drawn = {region.track for region in pipeline.edits.drawn} if pipeline.edits else set()
        self.left_visible: Counter[int] = Counter()
        self.total = expected_frames(self.info, config.preview)
        if config.export_masks:
            self._check_masks(config.export_masks)
        within = _load_region_image(config.region, self.info) if config.region else None
        self.cover = cover_of(config, pipeline.regions, within=within)
        self.detail = DetailCheck(
            name=dst.name,
            size=(self.info.width, self.info.height),
            shape=self.cover.shape,
            within=within,
            full_frame=self.anonymizer.full_frame,
        )
        self.encoded = EncodedCheck(self.detail, self.timer)

    def run(self) -> Receipt:
        """Anonymize the file, or with `shadow` only find what would be hidden."""
        config = self.config
        if self.progress:
            self.progress(0, self.total)
        with (
            Reader(
                self.src,
                info=self.info,
                salvage=config.salvage,
                force_8bit=config.force_8bit,
                threads=config.threads,
                gpu=config.decoder == "cuda",
            ) as reader,
            closing(self.detail),
        ):
            self.method = describe(self.anonymizer)  # before the first frame, as it may refuse it
            for path in FileTask(self.src, self.dst).outputs(config):
                self.appear(path)  # a place for each is there before the work
            self.metadata = select_metadata(reader, config.metadata, audio=self.sound)
            if config.preview is not None:
                self.metadata = self.metadata.until(self.info.start + config.preview)
            if not config.shadow:
                return self._receipt(reader, *self._write(reader))
            with ExitStack() as stack:
                boxes, masks = self._open_exports(stack)
                for item in self._anonymized(stack, reader):
                    self._count(item, boxes)
                    if masks and item.frame.duration:
                        masks.write(mask_picture(item), item.frame)
            self._check_ids()
            return self._receipt(reader, None, None)

    def _check_masks(self, path: Path) -> None:
        """Refuse a picture for the masks of several frames before any of them is decoded."""
        image = IMAGES.get(container_for(path, lossless_for(path)))
        if image is not None and not image.moving and self.total != 1:
            raise UsageError(
                f"--export-masks {path} would hold one frame, and {self.src.name} has several: "
                "name it .mkv."
            )

    def _write(self, reader: Reader) -> tuple[FileFacts, ResidualDetail]:
        copied, shifted = (self.sound, ()) if self.config.audio == "keep" else ((), self.sound)
        reader.copy, reader.sound = frozenset((*self.metadata.streams, *copied)), frozenset(shifted)
        part = self.appear(self.dst)
        with ExitStack() as stack:
            stack.enter_context(self.encoded)
            writer = self._open_writer(stack, part, reader)
            boxes, masks = self._open_exports(stack)
            self._encode(stack, reader, writer, boxes, masks)
        self._check_ids()
        check_file_coverage(
            self.coverage.total(),
            self.coverage.sources,
            name=self.src.name,
            allow_empty=self.config.allow_empty,
            allow_gaps=self.config.allow_gaps,
        )
        others = len(self.metadata.streams) + len(self.sound)
        empty = len(writer.empty)
        with self.timer.measure("check"):
            titles = self.metadata.titles
            info = verify_output(part, self.dst, others=others, empty=empty, titles=titles)
            self.metadata = self.metadata.held_by(part, writer.sources)
            detail = self.encoded.result_for(part) or self._compare(part, info)
            if self.pipeline.check_output is not None:
                raw = None if self.info.kind == "sequence" else self.src
                self.pipeline.check_output(part, raw, self.dst.name)
            return file_facts(part, self.dst, info, self.written), detail

    def _encode(
        self,
        stack: ExitStack,
        reader: Reader,
        writer: Writer,
        boxes: BoxWriter | None,
        masks: Writer | None,
    ) -> None:
        """Anonymize the frames and write them, with packets of other streams in their places."""
        self.encoded.watch(writer)
        pictures = prefetch(self._convert_colours(self._anonymized(stack, reader), writer))
        for item, picture in stack.enter_context(closing(pictures)):  # type: ignore[type-var]
            if not isinstance(item, AnonymizedFrame):
                writer.copy(item)
                continue
            self._count(item, boxes)
            if picture is None:  # a constant rate drops it
                continue
            self.detail.wrote(item.frame.index)
            with self.timer.measure("encode"):
                writer.write(picture, item.frame)
                if masks:
                    masks.write(mask_picture(item), item.frame)

    def _compare(self, part: Path, info: VideoInfo) -> ResidualDetail:
        """Decode the output beside its source, and refuse it where detail of it is still there."""
        config, threads = self.config, self.config.threads
        try:
            with (
                Reader(
                    self.src,
                    info=self.info,
                    salvage=config.salvage,
                    force_8bit=True,
                    threads=threads,
                ) as source,
                Reader(part, info=info, force_8bit=True, threads=threads, trusted=True) as output,
            ):
                return self.detail.compare(source, output)
        except VideoError as error:
            raise OutputError(f"{self.dst.name} could not be compared: {error}") from error

    def _open_writer(self, stack: ExitStack, part: Path, reader: Reader) -> Writer:
        config, metadata = self.config, self.metadata
        copied = (*metadata.streams, *(self.sound if config.audio == "keep" else ()))
        voices = self.sound if config.audio == "pitch" else ()
        return stack.enter_context(
            Writer(
                part,
                info=self._output_info(),
                container=self.container,
                encoding=self.encoding,
                copies=[reader.stream(index) for index in copied],
                voices=[reader.stream(index) for index in voices],
                metadata=metadata,
                start=self._start(),
                force_8bit=config.force_8bit,
            )
        )

    def _start(self) -> Fraction:
        """The source's second that becomes the output's 0."""
        return self.info.origin((*self.metadata.streams, *self.sound))

    def _output_info(self) -> VideoInfo:
        """The source as the output's video is to be: of its size, or of the method's."""
        return output_info(self._at_output_rate(), self.anonymizer, self.config)

    def _at_output_rate(self) -> VideoInfo:
        """The source, at the constant rate that is asked for."""
        if (rate := self.rate) is None:
            return self.info
        return replace(self.info, rate=rate, even_rate=None, time_base=1 / rate)

    def _open_exports(self, stack: ExitStack) -> tuple[BoxWriter | None, Writer | None]:
        """Writers of boxes and masks where asked for; the files appear complete or not at all."""
        config, info, boxes, masks = self.config, self.info, None, None
        enter = stack.enter_context
        if config.export_boxes:
            part = self.appear(config.export_boxes)
            boxes = enter(BoxWriter(part, width=info.width, height=info.height))
        if config.export_masks:
            part = self.appear(config.export_masks)
            encoding = lossless_for(config.export_masks, threads=config.threads)
            container = container_for(config.export_masks, encoding)
            plain = replace(self._at_output_rate(), bit_depth=8)
            masks = enter(
                Writer(
                    part, info=plain, container=container, encoding=encoding, start=self._start()
                )
            )
        return boxes, masks

    def _anonymized(self, stack: ExitStack, reader: Reader) -> Iterator[Any]:
        """Anonymized frames at the output's rate, and packets of other streams in their places."""
        items = self._stream(within_preview(reader, self.config.preview), self.pipeline.regions)
        frames = stack.enter_context(closing(items))  # type: ignore[type-var]
        return frames if self.rate is None else to_constant_rate(frames, self.rate)

    def _digest(self) -> bytes | None:
        """The digest of the source and of all that makes its mask, if the method needs one.

        Where a soft rim holds a share of the picture, two shares under one noise would give it.
        """
        if not self.anonymizer.needs_source_digest:
            return None
        chosen = {k: v for k, v in self.pipeline.settings().items() if k in MASKED_BY}
        own = {"source": self._source_sha256, "read": self.pipeline.contents()}
        own |= {"device": str(self.device), "code": code_digest("**/*.py"), **computing_versions()}
        return bytes.fromhex(config_hash({**chosen, **own}))

    def _stream(self, items: Iterator[Any], regions: Any, *, state: Any = None) -> Iterator[Any]:
        config = self.config
        return anonymize_stream(
            items,
            self.anonymizer,
            regions,
            cover=self.cover,
            seed=config.seed,
            digest=None if state is not None else self._digest(),
            batch=config.batch_size,
            amp=config.amp,
            timer=self.timer,
            watch=None if config.shadow else self.detail.watch,
            track_methods=self.pipeline.track_methods,
            state=state,
            keep_unhidden=not config.shadow,
            in_planes=not config.shadow and self._has_same_planes(),
        )

    def _has_same_planes(self) -> bool:
        """Whether the output's pictures may have planes of the source's size and meaning."""
        config, output = self.config, self._output_info()
        size = {"width": output.width, "height": output.height}
        deep = output.bit_depth > 8 and not config.force_8bit
        format = pixel_format(self.encoding, self.container, **size, deep=deep)
        return output == self._at_output_rate() and has_same_planes(output, format)

    def _convert_colours(self, items: Iterator[Any], writer: Writer) -> Iterator[tuple[Any, Any]]:
        """Each item, with the picture to encode if it is a frame that is not dropped."""
        offset = self.config.noise_qoffset
        picture_of = PictureMaker(writer, self.info, self.anonymizer, noise_qoffset=offset)
        with closing_if_possible(items):
            for item in items:
                if not isinstance(item, AnonymizedFrame) or not item.frame.duration:
                    yield item, None
                    continue
                with self.timer.measure("convert"):
                    picture = picture_of(item)
                yield item, picture

    def _count(self, item: AnonymizedFrame, boxes: BoxWriter | None) -> None:
        """Add a frame to the coverage. One that a constant rate repeats or drops counts once."""
        self.written += item.frame.duration > 0
        if item.frame.index < self.frames:
            return
        self.frames += 1
        self.coverage.add(item.region, item.mask)
        kind = followed_label(self.config)
        hidden = {box.track for box in item.region.boxes if box.label == kind}
        self.hidden_ids |= {track for track in hidden if track is not None}
        visible = {box.track for box in item.region.visible if box.track is not None}
        self.left_visible.update(visible)
        if boxes:
            size = {"width": self.info.width, "height": self.info.height}
            boxes.add(item.frame.index, exported_boxes(item.region, **size))
        if self.progress:
            self.progress(self.frames, self.total and max(self.total, self.frames))

    def _check_ids(self) -> None:
        """Refuse IDs that nobody has, and drawn regions that hid nothing: others would be seen."""
        if (edits := self.pipeline.edits) and self.config.preview is None:
            edits.check_drawn(self.coverage.drawn, self.src.name)
        named = [t for key in CHOICE_FIELDS for t in parse_ids(getattr(self.config, key)) or ()]
        named += [t for method in self.pipeline.track_methods for t in sorted(method.tracks)]
        there = sorted(self.hidden_ids | set(self.left_visible))
        unknown = [str(track) for track in named if track not in {*there, *self.drawn}]
        if unknown:
            known = f"there are {', '.join(map(str, there))}" if there else "nobody was found"
            raise UsageError(
                f"{self.src.name} has nobody with ID {', '.join(unknown)}: {known}; "
                "--list-people shows who they are."
            )

    @cached_property
    def _source_sha256(self) -> str:
        return video_digest(self.src)  # `_source_facts` refuses a source that changes later

    def _source_facts(self) -> FileFacts:
        """What the receipt records of the source, which must be the file that was read."""
        facts = file_facts(self.src, self.src, self.info, self.frames, sha256=self._source_sha256)
        if video_signature(self.src) != self._seen:
            raise VideoError(
                f"{self.src.name} changed while it was read; anonymize it when it is finished."
            )
        return facts

    def _repaired_timestamps(self, reader: Reader) -> int:
        """The number of the source's timestamps that were missing or wrong, and were replaced."""
        return reader.repaired_timestamps

    def _receipt(
        self, reader: Reader, output: FileFacts | None, detail: ResidualDetail | None
    ) -> Receipt:
        config, info, method = self.config, self.info, self.method
        warned = [SEED_WARNING] if config.seed is not None else []
        coverage = self.coverage.total()
        regions = self.pipeline.regions if config.preview is None else None
        warned += coverage_warnings(coverage, self.coverage.sources, regions=regions)
        warned += template_warnings(self.coverage.sources, self.anonymizer, outside=config.outside)
        verified = output is not None and self.pipeline.check_output is not None
        if verified and info.kind == "sequence":
            warned.append("--verify looked at the output alone, and not at its folder of images.")
        others = [track_method.anonymizer for track_method in self.pipeline.track_methods]
        warned += dict.fromkeys(filter(None, (a.caution for a in (self.anonymizer, *others))))
        if self.left_visible:
            listed = ", ".join(
                f"{track} ({frames} frames)" for track, frames in sorted(self.left_visible.items())
            )
            warned.append(f"left visible on purpose: ID {listed}.")
        repaired, gpu = self._repaired_timestamps(reader), config.decoder == "cuda"
        warned += source_warnings(reader, frames=self.frames, gpu=gpu, repaired=repaired)
        return Receipt(
            source=self._source_facts(),
            output=output,
            method=method,
            regions=region_records(
                region_arguments(config, self.anonymizer), self.pipeline.regions
            ),
            settings=self.pipeline.settings(),
            coverage=coverage,
            residual_detail=detail,
            verified=verified,
            noise=noise_origin(config.seed, keyed=self.anonymizer.needs_source_digest),
            audio=config.audio if audio_streams(info) else "there was none",
            removed=self.metadata.removed,
            kept=self.metadata.kept,
            warnings=tuple(warned),
            left_visible=dict(sorted(self.left_visible.items())),
            other_methods={
                method_name(track_method.anonymizer): tuple(sorted(track_method.tracks))
                for track_method in self.pipeline.track_methods
            },
            drawn=len(self.drawn & self.coverage.drawn),
            exports={kind: file_digest(self.appear(path)) for kind, path in config.exports.items()},
            # of the level's method alone
            measured=None if others else measured_of(config, self.anonymizer),
            mended_timestamps=repaired,
            damaged_frames=reader.damaged,
            lost_frames=reader.lost,
            end_unknown=reader.end_unknown,
            device=str(self.device),
            seconds=round(time.perf_counter() - self.began, 3),
            stage_seconds={key: round(s, 3) for key, s in self.timer.seconds.items()},
            versions=library_versions(),
            settings_sha256=self.pipeline.fingerprint(method, self.contents),
        )


def within_preview(reader: Reader, seconds: float | None) -> Iterator[Any]:
    """The reader's items up to so many seconds after the first frame; None: all of them."""
    first, early = None, list[StreamPacket]()
    for item in reader:
        if seconds is None:
            yield item
        elif isinstance(item, Frame):
            if first is None:
                first = item.time
                yield from (packet for packet in early if _begins(packet) < first + seconds)
            if item.time - first >= seconds - 1e-9:  # as times are rounded
                return
            yield item
        elif first is None:  # a decoder of several threads reads on before its first frame
            early.append(item)
        elif _begins(item) < first + seconds:
            yield item  # sound may lie in the file before the pictures of its time


def _begins(item: StreamPacket) -> float:
    """The second at which what comes of another stream begins; one that is not known is early."""
    return -math.inf if item.begins is None else float(item.begins)


def expected_frames(info: VideoInfo, preview: float | None) -> int | None:
    """About how many frames there will be, by what the file says of itself; None: it says not."""
    frames = info.frames or (round(info.duration * info.rate) if info.duration else None)
    most = None if preview is None else math.ceil(preview * info.rate)
    return frames if most is None else min(most, frames or most)


def _load_region_image(path: Path, info: VideoInfo) -> Any:
    """The image (H, W) where nothing is hidden if it is black there."""
    mask = read_region_image(path)
    check_size(mask, path.name, video="the video", width=info.width, height=info.height)
    return mask
