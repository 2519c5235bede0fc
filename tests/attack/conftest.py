"""Attacks look with all networks; without them there is nothing to test."""

import pytest

from masquerade.attack.look_again import LookAgain
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


@pytest.fixture
def nothing_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known noise and restoring networks are tried alone: undoing takes most of the time."""
    monkeypatch.setattr(LookAgain, "look", lambda *_, **__: None)
