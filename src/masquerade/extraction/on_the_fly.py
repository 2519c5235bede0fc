"""Extract clips again whenever they are read, where the disk has no room to keep them."""

import numpy as np
import torch
from torch import Tensor

from masquerade.datasets.manifest import IntArray
from masquerade.errors import MasqueradeError
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.dataset import Digests, digests_of
from masquerade.extraction.extract_video import VideoRows, extract_video


class ClipsOnTheFly:
    """The source of such clips: the same to the bit as those that a store would hold.

    `where` is (N, 2), the video of each clip and its row among the video's, and `digests` are of
    the clips as they were made the first time. A method that draws noise needs a seed.
    """

    def __init__(
        self,
        config: ExtractionConfig,
        videos: tuple[VideoRows, ...],
        where: IntArray,
        digests: Digests,
    ) -> None:
        self.shape, self._dtype = config.shape, torch.from_numpy(np.empty(0, config.dtype)).dtype
        self._config, self._videos, self._where, self._digests = config, videos, where, digests

    def read(self, places: IntArray) -> Tensor:
        """Make (B, 3, T, H, W) uint8 again; a video that has changed since is refused."""
        clips = torch.empty(len(places), *self.shape, dtype=self._dtype)
        batch: dict[int, list[int]] = {}  # the places in the batch that each video has
        for i, (number, _) in enumerate(self._where[places].tolist()):
            batch.setdefault(number, []).append(i)
        for number, places_of_video in batch.items():
            video, rows = self._videos[number], self._where[places[places_of_video], 1].tolist()
            if self._config.sample_first:  # the clips depend on each other
                clips_of_video = extract_video(video, self._config).clips
                made = [clips_of_video[row] for row in rows]
            else:
                made = extract_video(video.take(rows), self._config).clips
            for i, clip in zip(places_of_video, made, strict=True):
                if isinstance(clip, MasqueradeError):
                    raise clip
                clips[i] = torch.from_numpy(clip)
        if not (digests_of(clips) == self._digests[places]).all():
            raise MasqueradeError(
                "A video does not give the clip that it gave before: it has changed; run the "
                "command again."
            )
        return clips

    def digests(self, places: IntArray) -> Digests:
        return self._digests[places]
