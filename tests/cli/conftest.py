"""Sources are read once for all helps, which take their texts from them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache

import pytest


@pytest.fixture(scope="session", autouse=True)
def sources_read_once() -> Iterator[None]:
    """Python 3.11 parses a whole file for each class in it whose source is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "getsource", cache(inspect.getsource))
        yield
