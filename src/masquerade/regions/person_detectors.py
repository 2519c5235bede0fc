"""Person detectors for single frames: OpenCV's HOG detector, and torchvision's R-CNNs.

Dalal and Triggs, "Histograms of oriented gradients for human detection" (2005); He, Gkioxari,
Dollar, Girshick, "Mask R-CNN" (2017). Moving foreground is in `background_subtraction`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from masquerade.errors import MissingError, UsageError
from masquerade.regions.boxes import Box, check_array, nms, scaled_boxes
from masquerade.regions.masks import MIN_SILHOUETTE, Mask
from masquerade.regions.region import Frame, fit_size
from masquerade.storage import file_digest

PERSON = 1  # COCO's class of people
PADDING = 0.25  # of the height, by which a frame is extended on all sides: the detector's window
# leaves a sixth of its height above and below a person, who may fill the frame
NMS_IOU = 0.4


class HogPeople:
    """Upright people by OpenCV's bundled HOG detector; it misses people who sit or bend.

    The score is 1 - exp(-m), m the distance from the SVM's decision boundary. People of less than
    about 100 pixels at `scale` are not found.
    """

    def __init__(
        self, *, threshold: float = 0.15, scale: tuple[int, int] | int | None = 480
    ) -> None:
        self.threshold, self.scale = threshold, scale
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def __call__(self, frame: Frame) -> list[Box]:
        """The people of one frame, best first."""
        size = fit_size(frame, self.scale)
        edge = round(PADDING * size[1])
        if size[0] + 2 * edge < 64 or size[1] + 2 * edge < 128:
            return []  # the detector's window is 64 x 128
        grey = cv2.cvtColor(frame.rgb(size), cv2.COLOR_RGB2GRAY)
        padded = cv2.copyMakeBorder(grey, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        rects, margins = self._hog.detectMultiScale(
            padded, winStride=(8, 8), padding=(0, 0), scale=1.05, groupThreshold=0
        )
        rows = np.array(rects, np.float64).reshape(-1, 4)
        rows[:, 2:] += rows[:, :2]
        rows -= edge
        scores = 1 - np.exp(-np.array(margins, np.float64).reshape(-1).clip(0))
        check_array("the pedestrian detector", scores, (len(rows),))
        rows, scores = rows[scores >= self.threshold], scores[scores >= self.threshold]
        keep = nms(rows, scores, NMS_IOU)
        full = frame.width, frame.height
        return scaled_boxes(rows[keep], scores[keep], size, full, "person")


class TorchvisionPeople:
    """People and their silhouettes by torchvision's Faster or Mask R-CNN.

    `weights` is the state dict that torchvision publishes for `fasterrcnn_resnet50_fpn` or
    `maskrcnn_resnet50_fpn`, version 1 or 2; the other arguments are those of `People`.
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
        try:
            from torchvision.models import detection
        except (ImportError, RuntimeError):  # beside another build of torch it fails at run time
            raise MissingError(
                "People by torchvision need torchvision, in the build that fits torch; "
                'add it with: pip install -e ".[zoo]"'
            ) from None
        if not weights.is_file():
            raise MissingError(f"{weights.name} is not there: give the file of a person detector.")
        self.model_sha256: str | None = file_digest(weights)
        self._network = _load_network(detection, weights).eval().to(device)

    def segment(self, frame: Frame) -> tuple[list[Box], Mask | None]:
        """The people of one frame, best first, and their mask (H, W) if the network has one."""
        size, full = fit_size(frame, self.scale), (frame.width, frame.height)
        pixels = torch.from_numpy(np.ascontiguousarray(frame.rgb(size)))
        with torch.inference_mode():
            output = self._network([pixels.permute(2, 0, 1).to(self.device) / 255])[0]
        shapes = {"scores": (), "labels": (), "boxes": (4,), "masks": (1, None, None)}
        for key, tensor in output.items():
            shape = (len(output["scores"]), *shapes.get(key, ()))
            check_array("torchvision's network", tensor.cpu().numpy(), shape)
        keep = (output["labels"] == PERSON) & (output["scores"] >= self.threshold)
        rows, scores = (
            output[key][keep].cpu().numpy().astype(np.float64) for key in ("boxes", "scores")
        )
        boxes = scaled_boxes(rows, scores, size, full, "person")
        if "masks" not in output:
            return boxes, None
        silhouettes = (output["masks"][keep] >= 0.5)[:, 0].cpu().numpy()  # (N, h, w)
        areas = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
        # others may lie in the box, too
        small = silhouettes.sum(axis=(1, 2)) < MIN_SILHOUETTE * areas
        boxes = [
            replace(box, always_drawn=bool(is_small))
            for box, is_small in zip(boxes, small, strict=True)
        ]
        inside = silhouettes.any(axis=0)  # (h, w)
        mask = cv2.resize(inside.astype(np.uint8) * 255, full, interpolation=cv2.INTER_NEAREST)
        return boxes, np.asarray(mask, np.uint8)


def _load_network(detection: Any, weights: Path) -> Any:
    """The network whose state dict the file is, recognized by its keys."""
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
