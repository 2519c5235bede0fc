"""Networks in LiteRT files: where packages carry them, and how they are run on the CPU.

The files come inside Apache-2.0 packages, of which nothing else is used; a folder of files may be
named instead, for platforms that have no wheel of the package.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masquerade.errors import MissingError
from masquerade.regions.boxes import Array, check_output
from masquerade.storage import file_digest

PACKAGE = "mediapipe"
INSTALL = "pip install --no-deps mediapipe==0.10.21"
LITERT_INSTALL = "pip install ai-edge-litert"


class ModelFile(NamedTuple):
    """The file of a network, as its package carries it."""

    path: str  # in the package
    sha256: str

    @property
    def name(self) -> str:
        return Path(self.path).name


MODEL_FILES = {
    "pose detection": ModelFile(
        "modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose landmarks": ModelFile(
        "modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
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
}


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
        file, advice = folder / model.name, f"take it out of {PACKAGE} 0.10.21."
    else:
        spec = importlib.util.find_spec(PACKAGE)  # found, not imported
        root = Path(spec.origin).parent if spec and spec.origin else Path(PACKAGE)
        file, advice = root / model.path, f"add it with: {INSTALL}"
    if not file.is_file():
        raise MissingError(f"The network for {name} ({model.name}) is not there; {advice}")
    if file_digest(file) != model.sha256:
        raise MissingError(
            f"The network for {name} ({model.name}) is not the one that masquerade was tested "
            f"with; {advice}"
        )
    return file


def sigmoid(logits: NDArray[np.floating]) -> Array:
    """Probabilities of logits, which may be as large as float32 holds."""
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64).clip(-50, 50)))


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Drop what C code writes to stderr: LiteRT tells of its delegate, and no setting stops it."""
    saved = None
    with suppress(OSError):  # a program without stderr has nothing to keep quiet
        saved = os.dup(2)
    if saved is None:
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(nothing)
        os.close(saved)


class LiteRtNetwork:
    """One network; an instance serves one thread at a time.

    Args:
        name: in `MODEL_FILES`.
        folder: of the model files; None: the installed package.
        threads: that it computes with.

    Raises:
        MissingError: LiteRT or the file is not installed.
    """

    def __init__(self, name: str, *, folder: Path | None = None, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise MissingError(
                f"The network for {name} needs LiteRT; add it with: {LITERT_INSTALL}"
            ) from None
        self.name = name
        file = model_file(name, folder)
        with _quiet_libraries():
            self._interpreter: Any = Interpreter(model_path=str(file), num_threads=threads)
            self._interpreter.allocate_tensors()
        (given,) = self._interpreter.get_input_details()
        self._input = given["index"]
        self.side = int(given["shape"][1])  # pixels of its square input
        self._outputs = self._interpreter.get_output_details()

    def __call__(self, pixels: NDArray[np.floating]) -> list[Array]:
        """Its outputs, each without the axis of the batch, for one input (side, side, 3).

        Raises:
            MasqueradeError: an output is not finite.
        """
        self._interpreter.set_tensor(self._input, pixels[None].astype(np.float32))
        self._interpreter.invoke()
        shapes = [tuple(int(n) for n in found["shape"]) for found in self._outputs]
        return [
            check_output(self.name, self._interpreter.get_tensor(found["index"]), shape)[0]
            for found, shape in zip(self._outputs, shapes, strict=True)
        ]
