"""Make the picture of the README: two moments of the demo's clip, as filmed and at each level."""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import masquerade
from masquerade.cli.demo_clip import compose

NAMES = ("as filmed", "--level face", "--level person", "--level figure")
HEAD = 28  # pixels above the pictures


def main(picture: str = "docs/levels.png") -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{shown.split()[-1]}.mp4" for shown in NAMES]
        compose(paths[0])
        for path in paths[1:]:
            masquerade.anonymize_file(paths[0], path, level=path.stem)
        clips = [masquerade.read_video(path).clip for path in paths]
    moments = [clips[0].shape[2] * share // 30 for share in (9, 20)]
    shown = [[clip[0, :, t].permute(1, 2, 0).numpy() for clip in clips] for t in moments]
    apart = ((0, 10), (0, 10), (0, 0))
    rows = [np.hstack([np.pad(one, apart, constant_values=1) for one in row]) for row in shown]
    sheet = cv2.resize(np.vstack(rows), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    page = Image.new("RGB", (sheet.shape[1], sheet.shape[0] + HEAD), "white")
    page.paste(Image.fromarray((sheet * 255).astype(np.uint8)), (0, HEAD))
    font = ImageFont.load_default(size=HEAD * 0.6)
    for at, name in enumerate(NAMES):
        middle = (at + 0.5) * page.width / len(NAMES), HEAD / 2
        ImageDraw.Draw(page).text(middle, name, "black", font, "mm")
    page.save(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
