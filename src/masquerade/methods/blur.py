"""Gaussian blur: removes detail; faces stay recognizable to a trained network, so it hides little.

The baseline of Ilic et al. (CVPR 2024, section 4.1), SPAct and STPrivacy: kernel 13 (weak) or 21
(strong), sigma 10, on frames whose short side is 224. With so small a kernel sigma 10 is nearly a
box filter: its true standard deviation is 3.64 or 5.62 pixels. Differs from the papers: larger
frames are blurred at that size and enlarged again, so that a setting hides as much in a large video
as in a small one.
"""

from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card, Planes, Presets
from masquerade.arrays import U8
from masquerade.methods.area_resizing import area_resize, double, halve, rewrite_planes
from masquerade.methods.blend import blend, rewrite_regions
from masquerade.ranges import Allowed, at_least

Odd = Allowed("an odd number from 3 to 999", lambda value: 3 <= value <= 999 and value % 2 == 1)


class Blur(Anonymizer):
    """Blur everything, or the chosen regions.

    Args:
        kernel: width of the kernel in pixels of a frame whose short side is `short`; odd. Smaller
            frames are blurred as they are, which is stronger.
        sigma: standard deviation of the Gaussian, in the same pixels.
        short: short side in pixels at which larger frames are blurred; 0: the frame's own.
    """

    framewise = True
    card = Card(
        hides="fine detail; the papers' weak and strong settings hardly hide identity",
        undo="partly: networks trained on blurred faces recognize them",
        needs="nothing",
        paper="baseline of Ilic et al. CVPR 2024, SPAct CVPR 2022, STPrivacy ICCV 2023",
    )

    presets: ClassVar[Presets] = {  # the papers'
        "weak": {"kernel": 13, "sigma": 10.0, "short": 224},
        "strong": {"kernel": 21, "sigma": 10.0, "short": 224},
    }

    def __init__(
        self,
        *,
        kernel: Annotated[int, Odd] = 31,
        sigma: Annotated[float, at_least(1, 1000)] = 10.0,
        short: Annotated[int, at_least(0, 16384)] = 112,
    ) -> None:
        super().__init__()
        self.kernel, self.sigma, self.short = kernel, sigma, short

    def weights(self) -> NDArray[np.float32]:
        """The kernel along one axis, (kernel,), summing to 1."""
        return np.asarray(cv2.getGaussianKernel(self.kernel, self.sigma)[:, 0], np.float32)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        b, c, t, h, w = clip.shape
        frames = clip.transpose(1, 2).reshape(b * t, c, h, w)
        soft = self._filter(area_resize(frames, *self._working_size(h, w)))
        soft = F.interpolate(soft, (h, w), mode="bilinear")
        blurred = soft.reshape(b, t, c, h, w).transpose(1, 2)  # (B, C, T, H, W)
        return Anonymized(blend(clip, blurred, mask), mask)

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        # of the whole frame: a crop would be resampled on another grid
        return rewrite_regions(frames, self._blur, mask=mask, full_frame=True), None

    def on_planes(self, planes: Planes) -> Planes:
        h, w = planes.y.shape
        height, width = self._working_size(h, w)
        smaller = height <= h // 2 and width <= w // 2  # than colour is already

        def half(plane: U8) -> U8:
            return halve(self._blur(plane if smaller else double(plane), size=(h, w)))

        return rewrite_planes(planes, self._blur, half=half)

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which a frame is blurred."""
        ratio = min(1.0, self.short / min(height, width)) if self.short else 1.0
        return max(1, round(height * ratio)), max(1, round(width * ratio))

    def _filter(self, frames: Tensor) -> Tensor:
        """Convolve (N, C, H, W) with the kernel along both axes, edges repeated."""
        n, c, h, w = frames.shape
        half, taps = self.kernel // 2, torch.from_numpy(self.weights()).to(frames)
        planes = F.pad(frames.reshape(n * c, 1, h, w), (half, half, half, half), mode="replicate")
        planes = F.conv2d(planes, taps.view(1, 1, 1, -1))
        return F.conv2d(planes, taps.view(1, 1, -1, 1)).reshape(n, c, h, w)

    def _blur(self, frame: U8, *, size: tuple[int, int] | None = None) -> U8:
        """A frame blurred; of a `size` (height, width), if it is given at a smaller one."""
        h, w = size or frame.shape[:2]
        height, width = self._working_size(h, w)
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        taps = self.weights()
        # in float: on bytes OpenCV rounds the kernel to 1/256
        soft = cv2.sepFilter2D(small, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REPLICATE)
        soft = cv2.resize(cv2.convertScaleAbs(soft), (w, h), interpolation=cv2.INTER_LINEAR)
        return np.asarray(soft, np.uint8)
