"""Memory that was freed is kept for the next frame, instead of being given back and asked for anew.

glibc gives memory back to the system once a few megabytes at the end of the heap are free, which
the arrays of one frame are after each frame: the system then fills as many pages with zeros for the
next one. For noise over whole frames of 640 x 480 that was a quarter of all CPU time, for networks
that learn on a CPU a tenth (CHANGELOG.md).
"""

import ctypes
import os
import sys

KEPT = 256 << 20  # bytes that may stay free at the end of the heap
LARGEST = 32 << 20  # bytes of the largest array that comes from the heap; glibc allows no more
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the numbers of mallopt's parameters in malloc.h
CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep what it freed; False where that is not to be had, or was set before.

    It is a setting of the whole process, so that commands make it and a library does not.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in CHOSEN_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, LARGEST))
