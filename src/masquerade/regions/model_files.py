"""Files of networks: which packages carry them, and how they are found and checked.

The files come inside Apache-2.0 packages, of which nothing else is used; a folder of files may be
named instead, for platforms that have no wheel of a package. A package that is not Python's is not
installed: its one file is taken out of it into `SHARED`.
"""

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from masquerade.errors import MissingError
from masquerade.storage import file_digest

SHARED = Path(sys.prefix) / "share" / "masquerade"
OBJECTRON = "@mediapipe/objectron@0.4.1675468480"  # of the npm registry
OBJECTS = "object_detection_ssd_mobilenetv2_oidv4_fp16.tflite"
PACKAGES = {
    "mediapipe": "pip install --no-deps mediapipe==0.10.21",
    "rapidocr_onnxruntime": "pip install --no-deps rapidocr-onnxruntime==1.4.4",
    "objectron": (  # the file begins behind 184 bytes of another
        f'mkdir -p {shlex.quote(str(SHARED))} && (cd "$(mktemp -d)" && '
        f"tar xzOf $(npm pack --silent {OBJECTRON}) "
        "package/objectron_solution_packed_assets.data | tail -c +185 > "
        f"{shlex.quote(str(SHARED / OBJECTS))})"
    ),
}
"""The packages that carry networks, and what installs them."""


class ModelFile(NamedTuple):
    """The file of a network, as its package carries it."""

    path: str  # in the package
    sha256: str
    package: str = "mediapipe"

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def install(self) -> str:
        return PACKAGES[self.package]

    @property
    def installed(self) -> Path:
        """Where it lies if its package is installed."""
        if self.package == "objectron":
            return SHARED / self.path
        spec = importlib.util.find_spec(self.package)  # found, not imported
        root = Path(spec.origin).parent if spec and spec.origin else Path(self.package)
        return root / self.path


MODEL_FILES = {
    "pose detection": ModelFile(
        "modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose landmarks": ModelFile(
        "modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "people detection": ModelFile(
        OBJECTS,
        "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6",
        package="objectron",
    ),
    "people segmentation": ModelFile(
        "modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    "palm detection": ModelFile(
        "modules/palm_detection/palm_detection_full.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    "hand landmarks": ModelFile(
        "modules/hand_landmark/hand_landmark_full.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
    "face landmarks": ModelFile(
        "modules/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    "text detection": ModelFile(
        "models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        package="rapidocr_onnxruntime",
    ),
}
NEEDED = ("pose detection", "pose landmarks", "people detection")
"""The networks that find people, which are hidden by default."""


def model_file(name: str, folder: Path | None = None) -> Path:
    """The file of a network in `MODEL_FILES`, its digest checked.

    Args:
        name: of the network.
        folder: that holds the file under its own name; None: the installed package.

    Raises:
        MissingError: it is not there, or it is not the file that this package was tested with.
    """
    model = MODEL_FILES[name]
    if folder is not None:
        package = OBJECTRON if model.package == "objectron" else model.install.split()[-1]
        file, advice = folder / model.name, f"take it out of {package}."
    else:
        file, advice = model.installed, f"add it with: {model.install}"
    if not file.is_file():
        raise MissingError(f"The network for {name} ({model.name}) is not there; {advice}")
    if file_digest(file) != model.sha256:
        raise MissingError(
            f"The network for {name} ({model.name}) is not the one that masquerade was tested "
            f"with; {advice}"
        )
    return file
