"""Messages between a process and the one that decodes for it: plain data, which runs nothing.

A message is a JSON object and bytes, and their two lengths before them. No object is pickled: the
decoding process reads files from strangers, and may be theirs.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from av import AudioFrame, Packet
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from masquerade.video.color import Color
from masquerade.video.probe import StreamInfo, VideoInfo

_LENGTHS = struct.Struct("<II")
MOST_BYTES = 2**30  # of a message; the largest is a packet of another stream, such as a font

Message = dict[str, Any]


def send(channel: socket.socket, message: Message, *parts: Any) -> None:
    """Send a message; `parts` are bytes, or what has a buffer."""
    text = _ENCODER.encode(message).encode()
    views = [memoryview(part).cast("B") for part in parts]
    head = _LENGTHS.pack(len(text), sum(map(len, views)))
    channel.sendall(head + text)
    for view in views:
        channel.sendall(view)


def receive(channel: socket.socket) -> tuple[Message, bytearray]:
    """The next message; ConnectionError: the other side is gone or talks nonsense."""
    length, more = _LENGTHS.unpack(_receive_bytes(channel, _LENGTHS.size))
    if length + more > MOST_BYTES:
        raise ConnectionError
    try:
        message = _DECODER.decode(_receive_bytes(channel, length).decode())
    except (ValueError, RecursionError, ArithmeticError, TypeError):
        raise ConnectionError from None
    if not isinstance(message, dict):
        raise ConnectionError
    return message, _receive_bytes(channel, more)


def _receive_bytes(channel: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        got = channel.recv_into(view[done:])
        if not got:
            raise ConnectionError
        done += got
    return data


def _fraction_to_plain(value: object) -> Message:
    if isinstance(value, Fraction):
        return {"/": [value.numerator, value.denominator]}
    raise TypeError(f"{type(value).__name__} is no plain data")


def _fraction_from_plain(value: Message) -> Any:
    pair = value["/"] if set(value) == {"/"} else None  # else a text: a tag may be called so
    return Fraction(*pair) if isinstance(pair, list) else value


_ENCODER = json.JSONEncoder(default=_fraction_to_plain)  # made once: a video has many messages
_DECODER = json.JSONDecoder(object_hook=_fraction_from_plain)


def info_to_plain(info: VideoInfo) -> Message:
    """What a video says of itself as plain data; its path is left out."""
    plain = asdict(info)
    del plain["path"]
    return plain


def info_from_plain(plain: Message, path: Path) -> VideoInfo:
    """The inverse of `info_to_plain`."""
    streams = tuple(StreamInfo(**{**s, "tags": tuple(s["tags"])}) for s in plain["streams"])
    own = {"path": path, "color": Color(**plain["color"]), "streams": streams}
    lists = {name: tuple(plain[name]) for name in ("tags", "other_texts")}
    return VideoInfo(**{**plain, **own, **lists})


def packet_to_plain(packet: Packet[Any]) -> tuple[Message, list[Any]]:
    """A packet as plain data, and the bytes that go with it."""
    side = [(datum.data_type, datum) for datum in packet.iter_sidedata()]
    plain = {
        "pts": packet.pts,
        "dts": packet.dts,
        "duration": packet.duration,
        "time_base": packet.time_base,
        "keyframe": packet.is_keyframe,
        "size": packet.size,
        "side": [(name, datum.data_size) for name, datum in side],
    }
    return plain, [packet, *(datum for _, datum in side)]


def packet_from_plain(plain: Message, data: memoryview) -> Packet[Any]:
    """The inverse of `packet_to_plain`."""
    packet: Packet[Any] = Packet(bytes(data[: plain["size"]]))
    packet.pts, packet.dts, packet.duration = plain["pts"], plain["dts"], plain["duration"]
    packet.time_base, packet.is_keyframe = plain["time_base"], plain["keyframe"]
    start = plain["size"]
    for name, size in plain["side"]:
        datum = PacketSideData(packet_sidedata_type_from_literal(name), size)  # type: ignore[call-arg]
        datum.update(bytes(data[start : start + size]))
        packet.set_sidedata(datum)
        start += size
    return packet


def sound_to_plain(frames: Iterable[AudioFrame]) -> tuple[list[Message], list[Any]]:
    """Decoded sound as plain data, and the bytes that go with it."""
    plain: list[Message] = []
    parts: list[Any] = []
    for frame in frames:
        own = {"format": frame.format.name, "layout": frame.layout.name, "samples": frame.samples}
        times = {"pts": frame.pts, "time_base": frame.time_base, "rate": frame.sample_rate}
        plain.append({**own, **times})
        # A decoder's planes may be longer than their samples.
        parts += [memoryview(plane)[:size] for plane, size in _sound_planes(frame)]
    return plain, parts


def sound_from_plain(plain: Iterable[Message], data: memoryview) -> tuple[AudioFrame, ...]:
    """The inverse of `sound_to_plain`."""
    frames, start = [], 0
    for description in plain:
        frame = AudioFrame(description["format"], description["layout"], description["samples"])
        for plane, size in _sound_planes(frame):
            plane.update(data[start : start + size])
            start += size
        frame.sample_rate, frame.pts, frame.time_base = (
            description["rate"],
            description["pts"],
            description["time_base"],
        )
        frames.append(frame)
    return tuple(frames)


def _sound_planes(frame: AudioFrame) -> list[tuple[Any, int]]:
    """Each plane and the bytes of its samples. Of eight channels PyAV lists nine planes."""
    channels = frame.layout.nb_channels
    planes, per_plane = (channels, 1) if frame.format.is_planar else (1, channels)
    size = frame.samples * frame.format.bytes * per_plane
    return [(plane, size) for plane in frame.planes[:planes]]
