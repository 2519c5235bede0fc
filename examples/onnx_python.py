"""Anonymize a short video with a file of `masquerade export`: ONNX Runtime, without PyTorch."""

import json
import os
import sys
import tempfile

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it tells its makers of every network
import av
import numpy as np
import onnxruntime

if len(sys.argv) != 4 or os.path.lexists(out := sys.argv[3]) or not os.path.splitext(out)[1]:
    sys.exit("usage: python onnx_python.py NETWORK SOURCE OUTPUT, a new file such as safe.mp4")
run = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = run.get_modelmeta().custom_metadata_map
{"kind": "method", "trained": "true"}.items() <= about.items() or sys.exit("no trained method")
ports = json.loads(about["inputs"])
raw = list(av.open(sys.argv[2]).decode(video=0)) or sys.exit("the video has no frames")
own = {"frames": 8, "height": raw[0].height // 2 * 2, "width": raw[0].width // 2 * 2}
window, h, w = (own.get(n, n) for n in ports["clip"]["shape"][2:])  # codecs want even sides
if any(f.rotation or abs(h / w * f.width / f.height - 1) > 0.05 for f in raw) or (h | w) % 2:
    sys.exit("turn the video upright first, or export for frames of its shape, with even sides")
one, sides = ports.get("state", {"first": 0, "shape": []}), {"height": h, "width": w}
x = np.random.normal(size=[1, *(sides.get(axis, axis) for axis in one["shape"][1:])])
given = {"state": np.float32(x if one["first"] == "normal" else 0 * x + one["first"])}
clip = np.float32([f.to_ndarray(format="rgb24", **sides) for f in raw + raw[-1:] * window]) / 255
folder = tempfile.TemporaryDirectory(dir=os.path.dirname(out) or ".")  # it goes when this ends
with av.open(part := os.path.join(folder.name, os.path.basename(out)), "w") as made:
    stream = made.add_stream(made.default_video_codec, time_base=raw[0].time_base, **sides)
    for t in range(0, len(raw), window):
        x = clip[t : t + window].transpose(3, 0, 1, 2)[None]
        given |= {"clip": x, "mask": np.ones_like(x[:, :1])}  # 1: hide every pixel
        x, given["state"], *_ = *run.run(None, {n: given[n] for n in ports}), given["state"]
        shown = np.uint8((x[0] * 255).round().clip(0, 255)).transpose(1, 2, 3, 0).copy()
        for f, new in zip(raw[t:], map(av.VideoFrame.from_ndarray, shown), strict=False):
            new.pts, new.time_base = f.pts, f.time_base
            made.mux(stream.encode(new))
    made.mux(stream.encode())
os.replace(part, out)  # only a whole video gets its name
