"""Keep freed memory in the process, for the next frame, instead of returning it to the system.

glibc gives memory back to the system once a few megabytes at the end of the heap are free, which
the arrays of one frame are after each frame: the system then fills as many pages with zeros for the
next one. To see the difference, time a command with and without GLIBC_TUNABLES set to anything.
"""

import ctypes
import os
import sys

KEPT = 256 << 20  # bytes that may stay free at the end of the heap
LARGEST = 32 << 20  # bytes of the largest array that comes from the heap; glibc allows no more
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the numbers of mallopt's parameters in malloc.h
CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep freed memory in this process; False where glibc is not used or the user set it already.

    It is a setting of the whole process, so that commands make it and a library does not.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in CHOSEN_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, LARGEST))
