"""People in single frames: OpenCV's own detector, and torchvision's where it is installed.

Dalal and Triggs, "Histograms of oriented gradients for human detection" (2005); He, Gkioxari,
Dollar, Girshick, "Mask R-CNN" (2017). What moves before a static camera is in `moving`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from masquerade.errors import MissingError, UsageError
from masquerade.regions.boxes import Box, boxes_of, nms
from masquerade.regions.picture import Picture, fitted

PERSON = 1  # the class of people among COCO's
EDGE = 0.25  # of the height, by which a picture is continued on all sides: the detector's window
# leaves a sixth of its height above and below a person, who may fill the picture


class HogPeople:
    """Finds upright people by OpenCV's bundled detector; it misses the sitting and the bent.

    Args:
        threshold: lowest score of a person, 0 to 1: 1 - exp(-m), m the distance from the
            detector's decision boundary.
        scale: size to look at, (w, h) to fit into or the longest side in pixels; None: full size.
            People of less than about 100 pixels at this size are not found.
    """

    model_sha256: str | None = None

    def __init__(
        self, *, threshold: float = 0.15, scale: tuple[int, int] | int | None = 480
    ) -> None:
        self.threshold, self.scale = threshold, scale
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def __call__(self, picture: Picture) -> list[Box]:
        """The people of one frame, best first."""
        size = fitted(picture, self.scale)
        edge = round(EDGE * size[1])
        if size[0] + 2 * edge < 64 or size[1] + 2 * edge < 128:
            return []  # the detector's window is 64 x 128
        grey = cv2.cvtColor(picture.rgb(size), cv2.COLOR_RGB2GRAY)
        wider = cv2.copyMakeBorder(grey, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        rects, margins = self._hog.detectMultiScale(
            wider, winStride=(8, 8), padding=(0, 0), scale=1.05, groupThreshold=0
        )
        found = np.array(rects, np.float64).reshape(-1, 4)
        found[:, 2:] += found[:, :2]
        found -= edge
        scores = 1 - np.exp(-np.array(margins, np.float64).reshape(-1).clip(0))
        found, scores = found[scores >= self.threshold], scores[scores >= self.threshold]
        stays = nms(found, scores, 0.4)
        unit = np.array([picture.width / size[0], picture.height / size[1]] * 2)
        return boxes_of(found[stays] * unit, scores[stays], "person")


class TorchvisionPeople:
    """Finds people and their outlines by torchvision's Faster or Mask R-CNN.

    Args:
        weights: the state dict that torchvision publishes for `fasterrcnn_resnet50_fpn` or
            `maskrcnn_resnet50_fpn`, version 1 or 2, as .pth.
        threshold: lowest score of a person, 0 to 1.
        scale: size to look at, (w, h) to fit into or the longest side in pixels; None: full size.
        device: where it runs, as torch spells it.

    Raises:
        MissingError: torchvision or the file is not here.
        UsageError: the file holds no such weights.
    """

    def __init__(
        self,
        *,
        weights: Path,
        threshold: float = 0.5,
        scale: tuple[int, int] | int | None = None,
        device: str = "cpu",
    ) -> None:
        self.threshold, self.scale, self.device = threshold, scale, device
        detection = _torchvision_detection()
        if not weights.is_file():
            raise MissingError(f"{weights.name} is not there: give the file of a person detector.")
        self.model_sha256: str | None = hashlib.sha256(weights.read_bytes()).hexdigest()
        self._net = _network(detection, weights).eval().to(device)

    def __call__(self, picture: Picture) -> list[Box]:
        """The people of one frame, best first."""
        return self.outlined(picture)[0]

    def outlined(self, picture: Picture) -> tuple[list[Box], NDArray[np.uint8] | None]:
        """The people of one frame, and their outlines, (H, W) with 255 on them, if it has any."""
        size = fitted(picture, self.scale)
        pixels = torch.from_numpy(np.ascontiguousarray(picture.rgb(size)))
        with torch.inference_mode():
            found = self._net([pixels.permute(2, 0, 1).to(self.device) / 255])[0]
        stays = (found["labels"] == PERSON) & (found["scores"] >= self.threshold)
        unit = np.array([picture.width / size[0], picture.height / size[1]] * 2)
        rows = found["boxes"][stays].cpu().numpy().astype(np.float64) * unit
        boxes = boxes_of(rows, found["scores"][stays].cpu().numpy().astype(np.float64), "person")
        if "masks" not in found:
            return boxes, None
        inside = (found["masks"][stays] >= 0.5).any(dim=0)[0].cpu().numpy()  # (h, w)
        mask = cv2.resize(
            inside.astype(np.uint8) * 255,
            (picture.width, picture.height),
            interpolation=cv2.INTER_NEAREST,
        )
        return boxes, np.asarray(mask, np.uint8)


def _torchvision_detection() -> Any:
    try:
        from torchvision.models import detection
    except (ImportError, RuntimeError):  # beside another build of torch it fails at run time
        raise MissingError(
            "People by torchvision need torchvision, in the build that fits torch; "
            'add it with: pip install "masquerade[zoo]"'
        ) from None
    return detection


def _network(detection: Any, weights: Path) -> Any:
    """The network whose state dict the file is, told by the names in it."""
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        mask = any("mask_predictor" in key for key in state)
        second = "rpn.head.conv.1.0.weight" in state  # version 2 has a deeper proposal head
        name = ("maskrcnn" if mask else "fasterrcnn") + "_resnet50_fpn" + ("_v2" if second else "")
        network = getattr(detection, name)(weights=None, weights_backbone=None)
        network.load_state_dict(state)
    except Exception as error:  # torch.load and load_state_dict raise half a dozen kinds
        raise UsageError(
            f"{weights.name} does not hold torchvision's weights of a Faster or Mask R-CNN "
            f"({type(error).__name__}): give the published .pth file."
        ) from error
    return network
