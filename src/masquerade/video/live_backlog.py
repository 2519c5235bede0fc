"""How long packets of a live source waited before they were read, by the times that they carry.

Where they carry none, as in raw H.264, it is known only for how long at most.

A machine that decodes slower than a camera films leaves packets in the buffers of the network, more
of them from second to second. A picture's age therefore begins when its packet came, not when it
was decoded.
"""

from dataclasses import dataclass

MAX_BACKLOG = 1.0  # seconds; of a longer one that does not shrink packets are dropped
MAX_DROPPING = 5.0  # seconds of dropped packets after which the next key frame ends it in any case
JUMP = 10.0  # seconds forward, and any backward, from which a source counts time anew


@dataclass(eq=False)
class Backlog:
    """Measures how many seconds a live source is ahead of its reader.

    Whoever has to wait for a packet has read all that came. From then on a packet that is read
    later than it should be, by the time it carries, has waited for so long; one without a time has
    waited since then at most.
    """

    seconds: float = 0.0  # for which the newest packet waited, or at most did
    emptied: float | None = None  # when nothing waited for the last time; None: not known
    _least: float | None = None  # from a packet's own time until it was read, with nothing waiting
    _sent: float = 0.0  # the newest packet's own time
    _then: tuple[float, float] | None = None  # when it was last compared, and how long it was

    def add(self, sent: float | None, read: float, *, waited: bool) -> None:
        """Add a packet by its own time and when it was read; `waited`: none was there before."""
        if waited or self.emptied is None:
            self.emptied = read
        if sent is None:
            self.seconds = read - self.emptied
            return
        way = read - sent
        anew = not 0 <= sent - self._sent <= JUMP
        self._sent = sent
        if self._least is None:  # what came while a source was opened may have waited since then
            self._least = way - (read - self.emptied)
        elif waited or anew:
            self._least = way
        self._least = min(self._least, way)
        self.seconds = way - self._least

    def grows(self, now: float) -> bool:
        """Whether the backlog is above `MAX_BACKLOG` and has not become shorter within a second."""
        if self.seconds <= MAX_BACKLOG:
            self._then = None
            return False
        if self._then is None:
            self._then = now, self.seconds
        began, length = self._then
        if now - began < 1:
            return False
        self._then = now, self.seconds
        return self.seconds >= length

    def forget(self) -> None:
        """Reset the backlog, as if the newest packet had not waited."""
        self.seconds, self.emptied, self._least, self._then = 0.0, None, None, None
