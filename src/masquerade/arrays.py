"""Types of NumPy arrays, by their elements; comments beside them give shapes and ranges."""

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
