"""Attacks look with all networks; without them there is nothing to test."""

import pytest

from masquerade.errors import MissingError
from masquerade.regions.face_detectors import centerface_file
from masquerade.regions.model_files import model_file


@pytest.fixture(autouse=True, scope="session")
def networks() -> None:
    try:
        centerface_file()
        model_file("people detection")
        model_file("text detection")
    except MissingError as missing:
        pytest.skip(str(missing))
