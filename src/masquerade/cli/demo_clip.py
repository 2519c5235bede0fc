"""The demo's clip: a portrait that moves slowly in front of drawn hills, with sound and tags.

The portrait is Grace Hopper's official photograph, a work of the US Navy in the public domain that
matplotlib carries in its wheel. The clip is made where it is needed and lies in no repository.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import U8
from masquerade.errors import MissingError, UsageError
from masquerade.storage import atomic_write

WIDTH, HEIGHT, RATE, SECONDS = 640, 480, 25, 6
TAGS = {"title": "masquerade demo", "location": "+40.7128-074.0060/", "comment": "made by nobody"}
SOUND = 48000


def compose(path: Path, *, seconds: float = SECONDS) -> None:
    """Write the clip: 640 x 480, H.264 and AAC, with a title, a place and a comment in it.

    Raises:
        UsageError: a file is there that is not this clip.
    """
    if path.exists() and not _is_the_clip(path):
        raise UsageError(f"{path} is no clip of the demo and would be replaced; choose another -o.")
    with atomic_write(path, overwrite=True) as part, av.open(str(part), "w", format="mp4") as out:
        out.metadata.update(TAGS)
        video = out.add_stream("libx264", rate=RATE, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=SOUND, layout="mono")
        for number, frame in enumerate(islice(frames(), round(RATE * seconds))):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            out.mux(video.encode(picture))
            sound = av.AudioFrame.from_ndarray(_hum(number), format="s16", layout="mono")
            sound.sample_rate, sound.pts = SOUND, number * SOUND // RATE
            sound.time_base = Fraction(1, SOUND)
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def _is_the_clip(path: Path) -> bool:
    try:
        with av.open(str(path)) as file:
            return file.metadata.get("title") == TAGS["title"]
    except (av.FFmpegError, ValueError, OSError):
        return False


def frames() -> Iterator[U8]:
    """(480, 640, 3) RGB frames in which the portrait sways, turns and comes nearer."""
    face, hills = portrait(), _hills()
    height, width = face.shape[:2]
    oval = _oval(height, width)
    for number in range(RATE * SECONDS):
        phase = 2 * np.pi * number / (RATE * SECONDS)
        size = 0.62 + 0.1 * np.sin(phase)
        place = cv2.getRotationMatrix2D((width / 2, height / 2), 6 * np.sin(2 * phase), size)
        place[:, 2] += (WIDTH / 2 - width / 2 + 120 * np.sin(phase), HEIGHT / 2 - height / 2 + 20)
        moved = cv2.warpAffine(face, place, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
        alpha = cv2.warpAffine(oval, place, (WIDTH, HEIGHT))[..., None]
        yield np.rint(moved * alpha + hills * (1 - alpha)).astype(np.uint8)


def portrait() -> U8:
    """Grace Hopper, (600, 512, 3) RGB."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    image = cv2.imread(str(path))
    if image is None:
        raise MissingError("matplotlib's sample picture is not here; give demo a video of yours.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _oval(height: int, width: int) -> NDArray[np.float32]:
    """A soft oval that cuts the portrait from its own background."""
    mask = np.zeros((height, width), np.float32)
    middle = x, y = width // 2, height // 2
    cv2.ellipse(mask, middle, (x - 30, y - 30), 0, 0, 360, 1, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 12), np.float32)


def _hills() -> NDArray[np.float32]:
    """(480, 640, 3), three rows of hills under the sky, as a camera that stands still sees them."""
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    out = np.empty((HEIGHT, WIDTH, 3), np.float32)
    out[:] = np.array([168, 196, 222]) - (y / HEIGHT * 60)[..., None]
    for depth, colour in ((0.5, (118, 146, 132)), (0.7, (84, 116, 92)), (0.88, (58, 84, 62))):
        hills = np.sin(x / 70 / depth) * 26 + np.sin(x / 23) * 7
        grain = 8 * np.sin(x / 3) * np.sin(y / 4)
        low = y > HEIGHT * depth - hills
        out[low] = np.array(colour, np.float32) + grain[low][:, None]
    return out


def _hum(number: int) -> NDArray[np.int16]:
    """(1, samples) of a rising and falling tone, one frame long."""
    t = (np.arange(SOUND // RATE) + number * SOUND // RATE) / SOUND
    tone = np.sin(2 * np.pi * 180 * t + 6 * np.sin(2 * np.pi * 0.7 * t))
    return (6000 * tone).astype(np.int16)[None]
