"""Networks in LiteRT files, run on the CPU."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masquerade.errors import MissingError
from masquerade.regions.boxes import Array, check_array
from masquerade.regions.model_files import model_file

LITERT_INSTALL = "pip install ai-edge-litert"
_QUIET = threading.Lock()  # of two threads the second would put back what the first one dropped


def sigmoid(logits: NDArray[np.floating]) -> Array:
    """Probabilities of logits, which may be as large as float32 holds."""
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64).clip(-50, 50)))


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Drop what C code writes to stderr: LiteRT tells of its delegate, and no setting stops it."""
    with _QUIET:
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
    """One network; it computes with one thread, and an instance serves one at a time.

    Args:
        name: in `model_files.MODEL_FILES`.
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or the file is not installed.
    """

    def __init__(self, name: str, *, folder: Path | None = None) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise MissingError(
                f"The network for {name} needs LiteRT; add it with: {LITERT_INSTALL}"
            ) from None
        self.name = name
        file = model_file(name, folder)
        with _quiet_libraries():
            self._interpreter: Any = Interpreter(model_path=str(file), num_threads=1)
            self._interpreter.allocate_tensors()
        (input_details,) = self._interpreter.get_input_details()
        self._input = input_details["index"]
        self.side = int(input_details["shape"][1])  # pixels of its square input
        self._outputs = self._interpreter.get_output_details()

    def __call__(self, pixels: NDArray[np.floating]) -> list[Array]:
        """Its outputs, each without the axis of the batch, for one input (side, side, 3).

        Raises:
            MasqueradeError: an output is not finite.
        """
        self._interpreter.set_tensor(self._input, pixels[None].astype(np.float32))
        self._interpreter.invoke()
        shapes = [tuple(int(n) for n in output["shape"]) for output in self._outputs]
        return [
            check_array(self.name, self._interpreter.get_tensor(output["index"]), shape)[0]
            for output, shape in zip(self._outputs, shapes, strict=True)
        ]
