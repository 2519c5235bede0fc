"""Hide what you choose yourself: a box that follows a point, by noise, in a clip in memory."""

import sys

import torch

import masquerade


def main(source: str, output: str) -> None:
    video = masquerade.read_video(source)
    clip = video.clip  # (1, 3, T, H, W) in [0, 1]
    frames, height, width = clip.shape[2:]
    mask = torch.zeros(1, 1, frames, height, width)
    for t in range(frames):
        x = round((0.3 + 0.4 * t / frames) * width)
        mask[..., t, height // 4 : height // 2, x - width // 10 : x + width // 10] = 1
    hidden = masquerade.anonymize(clip, masquerade.build("selective"), mask=mask)
    masquerade.write_video(output, masquerade.Video(hidden, video.times, video.info))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python own_regions.py VIDEO OUTPUT")
    main(*sys.argv[1:])
