"""Anonymize a short video with a file of `masquerade export`: ONNX Runtime, without PyTorch."""

import json
import os
import sys

import av
import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it tells its makers of every network
import onnxruntime

if len(sys.argv) != 4 or os.path.lexists(sys.argv[3]):
    sys.exit("usage: python onnx_python.py NETWORK SOURCE OUTPUT, where OUTPUT is a new file")
network, source, output = sys.argv[1:]
run = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
ports = json.loads(run.get_modelmeta().custom_metadata_map["inputs"])
read = list(av.open(source).decode(video=0))  # codecs want even sides
free = {"frames": 8, "height": read[0].height // 2 * 2, "width": read[0].width // 2 * 2}
window, height, width = (free.get(n, n) for n in ports["clip"]["shape"][2:])
rgb = [f.to_ndarray(width=width, height=height, format="rgb24") for f in read]
any(f.rotation for f in read) and sys.exit("turn the video upright first")
clip = np.float32(rgb + rgb[-1:] * (-len(rgb) % window)).transpose(3, 0, 1, 2)[None] / 255
given, sides = {"state": None}, {"height": clip.shape[3], "width": clip.shape[4]}
if one := ports.get("state"):  # of a new video: one value everywhere, or noise
    x = np.random.normal(size=[1, *(sides.get(axis, axis) for axis in one["shape"][1:])])
    given["state"] = np.float32(x if one["first"] == "normal" else 0 * x + one["first"])
with av.open(part := "{}.part{}".format(*os.path.splitext(output)), "w") as made:
    stream = made.add_stream(made.default_video_codec, time_base=read[0].time_base, **sides)
    for t in range(0, len(rgb), window):
        some = clip[:, :, t : t + window]
        given |= {"clip": some, "mask": np.ones_like(some[:, :1])}  # 1: hide every pixel
        out, *states = run.run(None, {n: given[n] for n in ports})
        given["state"] = states[0] if states else given["state"]
        pixels = np.uint8((out[0] * 255).round().clip(0, 255)).transpose(1, 2, 3, 0).copy()
        for f, new in zip(read[t:], map(av.VideoFrame.from_ndarray, pixels), strict=False):
            new.pts, new.time_base = f.pts, f.time_base
            made.mux(stream.encode(new))
    made.mux(stream.encode())
os.replace(part, output)  # only a whole video gets its name
