"""Make the picture of the README: four moments of the demo's clip, before and after."""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import masquerade
from masquerade.cli.demo_clip import compose


def main(picture: str = "docs/before_after.png") -> None:
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.mp4"), Path(folder, "after.mp4")
        compose(before)
        masquerade.anonymize_file(before, after, masquerade.build("selective"))
        clips = [masquerade.read_video(path).clip for path in (before, after)]
    moments = [clips[0].shape[2] * share // 30 for share in (3, 9, 16, 23)]
    rows = [np.hstack([clip[0, :, t].permute(1, 2, 0).numpy() for t in moments]) for clip in clips]
    sheet = cv2.resize(np.vstack(rows), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    cv2.imwrite(picture, cv2.cvtColor((sheet * 255).astype(np.uint8), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main(*sys.argv[1:])
