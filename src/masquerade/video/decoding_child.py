"""The process that decodes: opens files from strangers, and answers its parent until that ends.

It imports no torch, hears no Ctrl-C, writes no core dump and takes no more memory than a file's
pictures explain. What kills it, kills one file.
"""

import mmap
import os
import resource
import select
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import av

from masquerade.core_dumps import forbid_core_dumps
from masquerade.errors import VideoError
from masquerade.video.addresses import Address
from masquerade.video.decoding import MOST_THREADS, Decoded, Decoder, Losses, StreamPacket
from masquerade.video.gpu_decoding import decodes_on_gpu
from masquerade.video.live_decoding import LiveDecoder
from masquerade.video.messages import (
    Message,
    info_from_plain,
    info_to_plain,
    packet_to_plain,
    receive,
    send,
    sound_to_plain,
)
from masquerade.video.mp4_data import list_used_bytes
from masquerade.video.probe import (
    VideoInfo,
    list_frame_tags_in_process,
    list_packets_in_process,
    probe_in_process,
    tally_frames_in_process,
)
from masquerade.video.shared_picture import byte_count, chroma_place, properties_of, put
from masquerade.video.stream_template import write_skeleton

ASKED = ("probe", "tally", "packets", "frame tags", "used", "read", "watch")  # first, of a file
BASE_BYTES = 2**30  # beside pictures: libraries, threads' stacks, the container's index
UNKNOWN_BYTES = 2**32  # until the size of a file's pictures is known
GPU_BYTES = 2**32  # of the driver, in this process
PICTURES = 24  # that a decoder may hold: 16 references, those of its threads, and what goes out


class Child:
    """Answers the requests of one parent, one file at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._ring: mmap.mmap | None = None
        self._free: list[int] = []  # slots of the ring
        self._slot = 0  # bytes of one
        self._place: tuple[object, str] = (None, "")  # a picture's size and format, its chroma's

    def serve(self) -> None:
        """Answer until the parent closes its side."""
        while True:
            request, _ = receive(self._channel)
            if request["ask"] not in ASKED:
                continue  # it was about a file that had ended already
            try:
                self._answer(request)
            except ConnectionError:
                raise
            except VideoError as error:
                send(self._channel, {"error": str(error)})
            except (MemoryError, av.MemoryError):
                why = "asks for more memory than pictures of its size take"
                send(self._channel, {"error": None, "why": why})
            except Exception as error:  # whatever a library makes of a file
                why = str(getattr(error, "strerror", None) or error).lower()
                send(self._channel, {"error": None, "why": f"cannot be read ({why})"})
            self._ring = None

    def _watch(self, request: Message) -> None:
        """Send the newest picture of live video each time that one is asked for."""
        address = Address(*request["address"])
        descriptor = None
        if address.kind == "pipe":
            _, (descriptor,), *_ = socket.recv_fds(self._channel, 1, 1)
        wanted = {key: request[key] for key in ("size", "rate", "seconds")}
        limit_memory(request["memory"] or UNKNOWN_BYTES)
        with LiveDecoder(address, descriptor=descriptor, **wanted) as decoder:
            info = decoder.start()
            limit_memory(request["memory"] or memory_limit(info))
            send(self._channel, {"info": info_to_plain(info)})
            self._free, self._slot, self._place = [], 0, (None, "")
            try:
                while True:
                    taken = decoder.take()
                    if taken is None:
                        send(self._channel, {"left out": True})
                        continue
                    if not self._send_picture(taken, Losses(), arrived=taken.arrived):
                        return
                    while not self._free:  # the next one is the newest when it is wanted
                        if not self._listen():
                            return
            except EOFError:
                send(self._channel, {"closed": True})

    def _answer(self, request: Message) -> None:
        if request["ask"] == "watch":
            self._watch(request)
            return
        os.chdir(request["folder"])
        path, rate = Path(os.fsdecode(bytes.fromhex(request["path"]))), request["rate"]
        most = request["memory"]
        limit_memory(most or UNKNOWN_BYTES)
        if request["ask"] == "probe":
            # A folder may have more images than can be decoded before this process seems silent.
            info = probe_in_process(path, rate=rate, after_image=self._say_alive)
            send(self._channel, {"info": info_to_plain(info)})
        elif request["ask"] == "tally":
            tally = tally_frames_in_process(path, after_frames=self._say_alive)
            send(self._channel, {"tally": tally})
        elif request["ask"] == "frame tags":
            tags = list_frame_tags_in_process(path, after_frames=self._say_alive)
            send(self._channel, {"frame tags": tags})
        elif request["ask"] == "used":
            send(self._channel, {"used": list_used_bytes(path)})
        elif request["ask"] == "packets":
            send(self._channel, {"packets": list_packets_in_process(path)})
        else:
            info = info_from_plain(request["info"], path)
            options = {name: request[name] for name in ("salvage", "threads", "gpu")}
            extra = GPU_BYTES if options["gpu"] and decodes_on_gpu(info.codec) else 0
            limit_memory(most or memory_limit(info, threads=options["threads"]) + extra)
            self._read(Decoder(path, info, **options))

    def _say_alive(self) -> None:
        send(self._channel, {"alive": True})

    def _read(self, decoder: Decoder) -> None:
        with decoder:
            tags = [decoder.stream_tags(index) for index in range(decoder.streams)]
            send(
                self._channel, {"tags": decoder.tags, "chapters": decoder.chapters, "streams": tags}
            )
            while True:
                asked, _ = receive(self._channel)
                if asked["ask"] == "template":
                    template = decoder.template(asked["index"])
                    assert template.stream is not None
                    skeleton = write_skeleton(template.stream) if asked["skeleton"] else b""
                    about = replace(template, stream=None)
                    send(self._channel, {"template": vars(about)}, skeleton)
                    continue
                if asked["ask"] == "go":
                    decoder.copy, decoder.sound = asked["copy"], asked["sound"]
                    self._pictures(decoder)
                break
        send(self._channel, {"closed": True, "losses": decoder.losses})

    def _pictures(self, decoder: Decoder) -> None:
        self._free, self._slot, self._place = [], 0, (None, "")
        for item in decoder:
            if isinstance(item, Decoded):
                if not self._send_picture(item, decoder.losses):
                    return
            elif not self._send_packet(item):
                return

    def _send_picture(self, item: Decoded, losses: Losses, **more: int) -> bool:
        """Put a picture into a free slot, with `more` in its message; False: none is wanted."""
        picture = item.picture
        kind = picture.width, picture.height, picture.format.name
        if self._place[0] != kind:
            self._place = kind, chroma_place(picture)
        size = byte_count(*kind)
        if size > self._slot:
            send(self._channel, {"room": size})
            self._slot, self._ring = size, None
        while self._ring is None or not self._free:
            if not self._listen():
                return False
        slot = self._free.pop()
        put(picture, memoryview(self._ring)[slot * self._slot : (slot + 1) * self._slot])
        times = {"pts": item.pts, "duration": item.duration, "index": item.index, "slot": slot}
        send(
            self._channel,
            {"picture": properties_of(picture, self._place[1]), "losses": losses, **times, **more},
        )
        return True

    def _send_packet(self, item: StreamPacket) -> bool:
        while select.select([self._channel], [], [], 0)[0]:
            if not self._listen():
                return False
        if item.packet is not None:
            plain, parts = packet_to_plain(item.packet)
            send(self._channel, {"packet": plain, "index": item.index}, *parts)
        else:
            sounds, parts = sound_to_plain(item.sound)
            send(self._channel, {"sound": sounds, "index": item.index}, *parts)
        return True

    def _listen(self) -> bool:
        """Hear which slots are free, or of new ones; False: the parent wants no more."""
        heard, _ = receive(self._channel)
        if heard["ask"] == "ring":
            _, (descriptor,), *_ = socket.recv_fds(self._channel, 1, 1)
            self._ring = mmap.mmap(descriptor, heard["slots"] * self._slot)
            os.close(descriptor)
            self._free = list(range(heard["slots"]))
        elif heard["ask"] == "next":
            self._free.append(heard["slot"])
        return bool(heard["ask"] != "close")


def memory_limit(info: VideoInfo, *, threads: int = 0) -> int:
    """The most bytes that decoding a video may take, by the size of its pictures."""
    count = min(MOST_THREADS, threads or os.cpu_count() or 1)
    return BASE_BYTES + (PICTURES + count) * info.picture_bytes


def limit_memory(count: int) -> None:
    """Let this process take so many bytes of its own memory; shared memory does not count."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _end_with_parent(parent: int) -> None:
    """End once the parent is gone, also where a codec never returns."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(descriptor: int, parent: int) -> None:
    """Serve over a socket until the parent is gone."""
    forbid_core_dumps()
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    try:
        Child(socket.socket(fileno=descriptor)).serve()
    except ConnectionError:  # the parent is gone
        sys.exit(0)
