"""Anonymize one long file in parts, each in a process of its own, and join them without a seam.

One pass finds regions and tracks, as a run without parts does, so that IDs, gaps and who stays
visible are the same. What it finds is kept for each part in a temporary file without pictures; as
soon as a part is complete, a worker anonymizes and encodes it while the pass goes on. A worker
decodes the file from its beginning and leaves out what is not its own: so it has the very frames
and time stamps of a run without parts, wherever key frames lie.

A method that carries something from frame to frame, such as moving noise, anonymizes in the pass,
too: what it makes is thrown away, and each part is given its state before the part's first frame.
Where the state follows from the frame before alone, a part reads that frame instead. Parts of a
method that takes windows of frames begin where a window does.

The parts' packets are put behind each other without encoding anything anew. Decoding times run
through: frame n in coding order is decoded when frame n - d is shown, with the d of the encoder.
"""

from __future__ import annotations

import copy
import os
import pickle
import resource
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from av import Packet

from masquerade.anonymizer import Anonymizer, first_state
from masquerade.errors import MasqueradeError, OutputError, UsageError
from masquerade.methods import method_name
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.pipeline.config import Pipeline
from masquerade.pipeline.residual_detail import RegionJudge
from masquerade.pipeline.single_file import FileRun, OnProgress, within_preview
from masquerade.pipeline.stream import (
    NO_PIXELS,
    AnonymizedFrame,
    closing_if_possible,
    is_stateless,
    pair_with_regions,
    precision_of,
    prefetch,
    region_mask,
    states_before,
)
from masquerade.process_pool import loader_of, worker_pool
from masquerade.regions.boxes import BoxWriter
from masquerade.regions.region import Region
from masquerade.storage import temporary_file
from masquerade.transaction import Appear
from masquerade.video.decoding_process import count_frames
from masquerade.video.encoding import IMAGES
from masquerade.video.frame import Frame
from masquerade.video.messages import packet_from_plain, packet_to_plain
from masquerade.video.read import Reader
from masquerade.video.write import Writer

OTHER_FILES = 100  # that a run has open beside three of each part: pipes, libraries, outputs
SHORTEST = 25  # frames of a part: more than any encoder reorders
REFUSED = {
    "cfr": "--cfr",
    "export_masks": "--export-masks",
    "salvage": "--salvage",
    "shadow": "--shadow",
}
"""Settings that need one run over all frames, and their flags."""


def check_parts(pipeline: Pipeline) -> None:
    """Refuse what cannot be done in parts.

    Raises:
        UsageError: the method carries something through the whole video, or a setting does.
    """
    for name, flag in REFUSED.items():
        if getattr(pipeline.config, name):
            raise UsageError(f"{flag} needs one run over the whole video; leave --parts out.")
    main, others = pipeline.anonymizer, [method.anonymizer for method in pipeline.track_methods]
    if isinstance(main, DrawnPeople) and not main.resumable:
        raise UsageError(
            f"{method_name(main)} carries pictures of the scene from frame to frame here, so it "
            "cannot be run in parts; leave --parts out, or choose another --ground."
        )
    if not (main.framewise or main.resumable):
        raise UsageError(
            f"{method_name(main)} says neither that each frame is hidden by itself (framewise) nor "
            "how another process goes on with it (resumable), so it cannot be run in parts; leave "
            "--parts out, or choose another method."
        )
    if not all(map(is_stateless, others)):
        raise UsageError(
            "a person hidden by a second method that carries something from frame to frame needs "
            "one run over the whole video; leave --parts out."
        )


def check_open_files(parts: int) -> None:
    """Refuse a number of parts whose temporary files exceed the limit of open files.

    Raises:
        UsageError: there are too many.
    """
    most = max(1, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES) // 3)
    if parts > most:
        raise UsageError(
            f"{parts} parts take more open files than a process may have here; ask for at most "
            f"--parts {most}."
        )


def _state_is_followed(anonymizer: Anonymizer) -> bool:
    """Whether a method must run over all earlier frames to know its state before a frame."""
    return not (anonymizer.framewise or anonymizer.window or anonymizer.state_from_last_frame)


@dataclass
class _Part:
    """One part of a file: its frames from `start` to before `stop`, and its temporary files."""

    start: int
    regions: Path
    packets: Path
    found: Path
    state: Any  # of the method before its first frame, without pixels; None: the method has none
    stop: int = 0


class _Done(NamedTuple):
    """What a worker tells of its part."""

    shown_pts: list[int]  # of its packets' pictures, in the order in which they are shown
    source_pts: list[int]  # of the source's frames
    reordered: int  # how many packets come before the time of the first picture
    extradata: bytes | None
    judged: RegionJudge
    seconds: dict[str, float]


class PartedRun(FileRun):
    """A run over one file whose frames are anonymized and encoded in parts."""

    def __init__(
        self,
        src: Path,
        dst: Path,
        pipeline: Pipeline,
        progress: OnProgress | None,
        appear: Appear,
    ) -> None:
        check_parts(pipeline)
        super().__init__(src, dst, pipeline, progress, appear)
        self._times: list[int] = []
        self._repaired_beside = 0  # times of the pictures and the sound, where there is sound
        self._workers = self.pipeline.workers or min(self.config.parts, os.cpu_count() or 1)

    def _encode(
        self,
        stack: ExitStack,
        reader: Reader,
        writer: Writer,
        boxes: BoxWriter | None,
        masks: Writer | None,
    ) -> None:
        if self.info.kind != "video" or self.container in IMAGES:
            super()._encode(stack, reader, writer, boxes, masks)
            return
        copied, heard = reader.copy, reader.sound
        reader.copy = reader.sound = frozenset()  # they come when the parts are joined
        total = self.total or count_frames(self.src)
        length = max(SHORTEST, -(-total // self.config.parts))
        if window := self.anonymizer.window:
            length = -(-length // window) * window
        check_open_files(-(-total // length))
        futures: dict[Future[_Done], _Part] = {}
        waiting, running = deque[_Part](), set[Future[_Done]]()
        # a cluster would run as many as it has cores, where a pool has so many processes
        most = self.pipeline.workers if self.pipeline.open_executor else None
        try:
            with self._open_executor() as pool:
                load = loader_of(pool, self._for_workers())

                def begin() -> None:
                    for future in [f for f in running if f.done()]:
                        future.result()  # one that failed ends the pass, which may take hours
                        running.remove(future)
                    while waiting and (most is None or len(running) < most):
                        part = waiting.popleft()
                        future = pool.submit(run_part, self.src, self.dst, load, part)
                        running.add(future)
                        futures[future] = part

                for part in self._find(stack, reader, boxes, length):
                    waiting.append(part)
                    begin()
                self._check_ids()
                while waiting:
                    wait(running, return_when=FIRST_COMPLETED)
                    begin()
                for future in as_completed(futures):
                    future.result()
        except BrokenProcessPool:
            raise MasqueradeError(
                f"{self.dst.name} was not made: the worker process of a part died, perhaps for "
                "want of memory; use fewer --workers."
            ) from None
        parts = [(part, future.result()) for future, part in futures.items()]
        self._check(writer, parts)
        with self.timer.measure("join"):
            self._join(writer, parts, copied, heard)

    def _open_executor(self) -> AbstractContextManager[Executor]:
        """Open the executor that runs the parts: the pipeline's, or processes of this machine."""
        if self.pipeline.open_executor is not None:
            return self.pipeline.open_executor()
        return worker_pool(self._workers)

    def _for_workers(self) -> Pipeline:
        """The pipeline as a worker gets it: with what it cannot find out, and no detector."""
        anonymizer = self.anonymizer
        if self.device.type != "cpu":  # memory of a device stays with its process
            anonymizer = copy.deepcopy(anonymizer).cpu()
        cores = 1 if self.pipeline.open_executor else (os.cpu_count() or 1) // self._workers
        threads = self.config.threads or max(1, cores)
        config = replace(self.config, shape=self.cover.shape, threads=threads, parts=1)
        return self.pipeline._replace(
            anonymizer=anonymizer,
            config=config,
            regions=None,
            check_output=None,
            edits=None,
            open_executor=None,
        )

    def _find(
        self, stack: ExitStack, reader: Reader, boxes: BoxWriter | None, length: int
    ) -> Iterator[_Part]:
        """Find regions in all frames; yields each part once what was found in it is saved."""
        method = self.anonymizer
        items = within_preview(reader, self.config.preview)
        decoded = prefetch(self.timer.measure_each("decode", items))
        paired = prefetch(pair_with_regions(decoded, self.pipeline.regions, self.timer))
        state = first_state(method, seed=self.config.seed, digest=self._digest())
        followed = prefetch(self._with_states(paired, state))
        part: _Part | None = None
        file: BinaryIO | None = None
        for frame, region, mask, state in stack.enter_context(closing(followed)):  # type: ignore[type-var]
            index = frame.index
            if part is None or index - part.start >= length:
                if part is not None and file is not None:
                    file.close()
                    part.stop = index
                    yield part
                detached = None if state is None else method.detach_state(state)
                part = self._new_part(stack, index, detached)
                file = stack.enter_context(part.regions.open("wb"))
            assert file is not None
            packed = zlib.compress(pickle.dumps(region, pickle.HIGHEST_PROTOCOL), 1)
            file.write(len(packed).to_bytes(8, "little") + packed)
            self._times.append(frame.pts)
            self._count(AnonymizedFrame(frame, NO_PIXELS, region, mask), boxes)
        assert part is not None and file is not None  # a reader gives a frame or an error
        file.close()
        part.stop = len(self._times)
        yield part

    def _with_states(
        self, paired: Iterator[tuple[Frame, Region]], state: Any
    ) -> Iterator[tuple[Frame, Region, Any, Any]]:
        """Each frame, its region, its mask, and the method's state before it if that is needed."""
        if _state_is_followed(self.anonymizer):
            arguments = paired, self.anonymizer, state, self.cover, self.timer
            yield from states_before(*arguments, amp=self.config.amp)
        else:
            size = {"width": self.info.width, "height": self.info.height}
            with closing_if_possible(paired):
                for frame, region in paired:
                    yield frame, region, region_mask(region, self.cover, **size), state

    def _new_part(self, stack: ExitStack, start: int, state: Any) -> _Part:
        regions, packets, found = (
            stack.enter_context(temporary_file(self.dst, overwrite=True)) for _ in range(3)
        )
        return _Part(start, regions, packets, found, state)

    def _check(self, writer: Writer, parts: Sequence[tuple[_Part, _Done]]) -> None:
        """Refuse parts that are not of the frames that were found, or not of one encoder."""
        decoded = list(chain.from_iterable(done.source_pts for _, done in parts))
        if decoded != self._times or sum(len(done.shown_pts) for _, done in parts) != len(decoded):
            raise OutputError(
                f"{self.dst.name} was not joined, as its parts do not hold all frames, each once."
            )
        if any(done.extradata != writer.extradata for _, done in parts):
            raise OutputError(
                f"{self.dst.name} was not joined, as its parts were encoded with other headers; "
                "leave --parts out."
            )

    def _join(
        self,
        writer: Writer,
        parts: Sequence[tuple[_Part, _Done]],
        copied: frozenset[int],
        heard: frozenset[int],
    ) -> None:
        """Write the parts' packets behind each other, and those of other streams among them."""
        for part, done in parts:
            self.detail.take_over(part.found, done.judged, part.stop - 1)
            for stage, seconds in done.seconds.items():
                self.timer.seconds[stage] = self.timer.seconds.get(stage, 0.0) + seconds
        for index in range(len(self._times)):
            self.detail.wrote(index)
        packets = self._packets(parts)
        if copied or heard:
            threads = self.config.threads
            options: dict[str, Any] = {"copy": copied, "sound": heard, "threads": threads}
            with Reader(self.src, info=self.info, **options) as other_streams:
                for item in within_preview(other_streams, self.config.preview):
                    if not isinstance(item, Frame):
                        writer.copy(item)
                    elif (packet := next(packets, None)) is not None:
                        writer.write_encoded(packet)
                self._repaired_beside = other_streams.repaired_timestamps
        for packet in packets:
            writer.write_encoded(packet)

    def _repaired_timestamps(self, reader: Reader) -> int:
        return max(super()._repaired_timestamps(reader), self._repaired_beside)

    def _packets(self, parts: Sequence[tuple[_Part, _Done]]) -> Iterator[Packet[Any]]:
        """All packets in coding order, with decoding times that run through."""
        shown_pts = list(chain.from_iterable(done.shown_pts for _, done in parts))
        delay, number, last = max(done.reordered for _, done in parts), 0, None
        for part, _ in parts:
            for packet in read_packets(part.packets):
                if number >= delay:
                    packet.dts = shown_pts[number - delay]
                when, number = packet.dts, number + 1
                late = packet.pts is None or when is None or when > packet.pts
                if late or (last is not None and when <= last):  # type: ignore[operator]
                    raise OutputError(
                        f"{self.dst.name} was not joined, as this encoder's time stamps cannot "
                        "be; leave --parts out."
                    )
                last = when
                yield packet


class PacketWriter(Writer):
    """A writer whose packets go into a file of their own form, without a container around them."""

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        self._file = file
        self.times: list[int] = []  # of pictures, in the order of packets
        self.decoded: list[int] = []  # when packets are decoded
        super().__init__("part", **options)

    def close(self) -> None:
        """Encode what the encoder still holds."""
        self._guard(lambda: self._send(None))

    def _target(self) -> Any:
        return BytesIO()  # the muxer says what its encoder needs, and is given nothing

    def _put(self, packet: Packet[Any]) -> None:
        plain, data = packet_to_plain(packet)
        if packet.pts is None or packet.dts is None:
            raise OutputError("a packet without a time cannot be joined; leave --parts out.")
        self.times.append(packet.pts)
        self.decoded.append(packet.dts)
        pickle.dump((plain, b"".join(bytes(buffer) for buffer in data)), self._file)


def read_packets(path: Path) -> Iterator[Packet[Any]]:
    """The packets that a `PacketWriter` wrote."""
    with path.open("rb") as file, suppress(EOFError):
        while True:
            plain, data = pickle.load(file)
            yield packet_from_plain(plain, memoryview(data))


def read_regions(path: Path) -> Iterator[Region]:
    """The regions of a part, frame by frame."""
    with path.open("rb") as file:
        while size := int.from_bytes(file.read(8), "little"):
            yield pickle.loads(zlib.decompress(file.read(size)))


def run_part(src: Path, dst: Path, load: Callable[[], Pipeline], part: _Part) -> _Done:
    """Anonymize and encode one part, in a worker."""
    return _PartRun(src, dst, load(), None, _itself).encode(part)


def _itself(destination: Path, *, private: bool = False) -> Path:
    """Return the path as it is: a part is written to a temporary file anyway."""
    return destination


class _PartRun(FileRun):
    """What a worker does of a run: frames of one part, with the regions that were found."""

    def encode(self, part: _Part) -> _Done:
        """Write the part's packets, and save what was found for the check of the output."""
        options: dict[str, Any] = {"info": self.info, "threads": self.config.threads}
        options["gpu"] = self.config.decoder == "cuda"
        with ExitStack() as stack:
            stack.enter_context(closing(self.detail))
            reader = stack.enter_context(
                Reader(self.src, force_8bit=self.config.force_8bit, **options)
            )
            decoded = (item for item in reader if isinstance(item, Frame))
            state, source_pts = part.state, list[int]()
            if part.start:
                # All frames are read up to here, whatever the method needs of them.
                before = next((frame for frame in decoded if frame.index == part.start - 1), None)
                if before is not None:
                    with torch.no_grad(), precision_of(self.anonymizer, amp=self.config.amp):
                        state = self.anonymizer.attach_state(state, before.rgb())

            def frames() -> Iterator[Frame]:
                for frame in decoded:
                    source_pts.append(frame.pts)
                    yield frame
                    if frame.index == part.stop - 1:
                        return

            items = self._stream(frames(), lambda read: _replay(read, part.regions), state=state)
            items = stack.enter_context(closing(items))  # type: ignore[type-var]
            file = stack.enter_context(part.packets.open("wb"))
            writer = PacketWriter(
                file,
                info=self._output_info(),
                container=self.container,
                encoding=self.encoding,
                force_8bit=self.config.force_8bit,
            )
            pictures = prefetch(self._convert_colours(items, writer))
            with writer, closing(pictures):  # type: ignore[type-var]
                for item, picture in pictures:
                    with self.timer.measure("encode"):
                        writer.write(picture, item.frame)
            shown_pts = sorted(writer.times)
            judged = self.detail.hand_over(part.found)
            return _Done(
                shown_pts=shown_pts,
                source_pts=source_pts,
                reordered=sum(time < shown_pts[0] for time in writer.decoded),
                extradata=writer.extradata,
                judged=judged,
                seconds=self.timer.seconds,
            )


def _replay(frames: Iterator[Any], path: Path) -> Iterator[Region]:
    """The regions that were found, as a region source gives them."""
    regions = read_regions(path)
    for _ in frames:
        region = next(regions, None)
        if region is None:
            return
        yield region
