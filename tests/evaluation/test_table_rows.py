"""What a row of a table says of its method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from masquerade.anonymizer import Anonymizer
from masquerade.evaluation.table_rows import arguments_as_json


class Own(Anonymizer):
    """A method of somebody's own, with arguments that JSON lacks."""

    def __init__(self, *, weights: Path, colours: Any, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.weights, self.colours, self.sizes = weights, colours, sizes


def test_arguments_that_json_lacks_are_text() -> None:
    """All was attacked before they were refused."""
    colours = {"array": np.zeros(3), "tensor": [torch.ones(2)]}
    found = arguments_as_json(Own(weights=Path("/me/own.pth"), colours=colours, sizes=(1, 2)))
    assert json.loads(json.dumps(found)) == found
    assert found["weights"] == "own.pth" and found["sizes"] == [1, 2]
    assert found["colours"]["array"].startswith("float64 (3,) ")
    assert found["colours"]["tensor"][0].startswith("float32 (2,) ")
