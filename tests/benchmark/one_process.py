"""Run a benchmark's commands in the test's own process: each process of its own loads all anew."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from masquerade.errors import MasqueradeError


class HereCommands:
    """In place of `LocalCommands`, of which only the processes are left out."""

    def __init__(self, gpus: Sequence[str] = ()) -> None:
        assert not gpus

    def run(self, words: Sequence[str], log: Path, *, side_by_side: int) -> int:
        assert side_by_side == 1
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        try:
            return int(import_module(f"masquerade.cli.{words[0]}").main(list(words[1:])))
        except MasqueradeError as error:
            log.write_text(f"masquerade: {error}")
            return error.exit_code

    def stop(self) -> None:
        """Nothing runs once `run` has returned."""
