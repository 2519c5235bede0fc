"""Anonymize a short video with a file of `masquerade export`: ONNX Runtime, without PyTorch."""

import json
import os
import sys

import av
import numpy as np
import onnxruntime


def main(network: str, source: str, output: str) -> None:
    run = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    ports = json.loads(run.get_modelmeta().custom_metadata_map["inputs"])
    window, height, width = (8 if n == "frames" else n for n in ports["clip"]["shape"][2:])
    size = {} if width == "width" else {"width": width, "height": height}
    with av.open(source) as video, av.open(f"{output}.part.mp4", "w") as made:
        read = list(video.decode(video=0))
        rgb = [f.to_ndarray(**size, format="rgb24") for f in read]
        any(f.rotation for f in read) and sys.exit("turn the video upright first")
        clip = np.float32(rgb + rgb[-1:] * (-len(rgb) % window)).transpose(3, 0, 1, 2)[None] / 255
        given, sides = {}, {"height": clip.shape[3], "width": clip.shape[4]}
        if one := ports.get("state"):  # of a new video: one value everywhere, or noise
            x = np.random.normal(size=[1, *(sides.get(axis, axis) for axis in one["shape"][1:])])
            given["state"] = np.float32(x if one["first"] == "normal" else 0 * x + one["first"])
        stream = made.add_stream("libx264", rate=video.streams.video[0].average_rate, **sides)
        for start in range(0, len(rgb), window):
            given["clip"] = some = clip[:, :, start : start + window]
            given["mask"] = np.ones_like(some[:, :1])  # 1: hide every pixel
            hidden, *after = run.run(None, {name: given[name] for name in ports})
            given |= {"state": after[0]} if after else {}
            pixels = (hidden[0] * 255).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 3, 0)
            for frame in map(np.ascontiguousarray, pixels[: len(rgb) - start]):
                made.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        made.mux(stream.encode())
    os.replace(f"{output}.part.mp4", output)  # only a whole video gets its name


if __name__ == "__main__":
    main(*sys.argv[1:])
