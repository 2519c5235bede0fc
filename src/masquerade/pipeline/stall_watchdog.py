"""A watchdog thread for live video that reports when the work on one picture hangs.

A network, an encoder or a destination that hangs blocks the thread that would say so. Nothing is
shown meanwhile, which is safe; whoever watches should know why the picture stands still.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

T = TypeVar("T")


class StallWatchdog:
    """Reports, once a picture, that the work on it takes longer than `seconds`.

    Args:
        seconds: how long a picture may be worked on.
        say: called with each sentence, that a picture hangs from the watchdog's thread, that it
            goes on from the one that asks for pictures.
    """

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self._seconds, self._say = seconds, say
        self._since: float | None = None  # when the work on the present picture began
        self._said = False
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="stall watchdog", daemon=True)
        self.longest = 0.0  # seconds that a picture was worked on

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def __call__(self, pictures: Iterable[T]) -> Iterator[T]:
        """The same pictures; whoever asks for the next one has done with the one before."""
        for picture in pictures:
            self._set(time.monotonic())
            yield picture
            self._set(None)

    def _set(self, since: float | None) -> None:
        with self._changed:
            if since is None and self._since is not None:
                took = time.monotonic() - self._since
                self.longest = max(self.longest, took)
                if self._said:
                    self._say(f"it goes on, after a standstill of {took:.0f} s.")
            self._since, self._said = since, False
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._ended:
                left = None
                if self._since is not None and not self._said:
                    left = self._since + self._seconds - time.monotonic()
                    if left <= 0:
                        self._said = True
                        self._say(
                            f"one picture has been worked on for {self._seconds:g} s: the detector,"
                            " the method, the encoder or the destination hangs. Nothing is shown "
                            "until it goes on; Ctrl-\\ ends it at once."
                        )
                        continue
                self._changed.wait(left)
