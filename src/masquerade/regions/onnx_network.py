"""Networks in ONNX files, run on the CPU by ONNX Runtime."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ERRORS_ONLY = 3  # of ONNX Runtime's levels of messages


class OnnxNetwork:
    """One network; an instance serves one thread at a time.

    It keeps the memory of the largest frame it saw, since to take it anew from the system for each
    frame would cost as much time as the network. It computes with as many threads as OpenCV does,
    which change nothing in what it gives.

    Args:
        model: the bytes of the ONNX file, whose one input may have any size.
    """

    def __init__(self, model: bytes) -> None:
        import onnxruntime  # runs that look for no faces do not wait for it

        onnxruntime.disable_telemetry_events()  # where it was imported before masquerade
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = cv2.getNumThreads()
        # Threads that wait for work sleep: otherwise they take the time of those that encode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False  # it would be made anew for every size of frames
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        (input_info,) = self._session.get_inputs()
        self._input = input_info.name

    def __call__(self, values: NDArray[np.float32], outputs: tuple[str, ...]) -> list[Any]:
        """The outputs of these names for one input."""
        return list(self._session.run(list(outputs), {self._input: values}))
