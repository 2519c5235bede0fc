"""Let OpenMP's threads sleep soon while they wait for one another, instead of keeping a core busy.

A thread of GNU's OpenMP (PyTorch's on Linux) that is done with its part of an operation spins for
some milliseconds, lest it be woken late. Where other programs use the cores, a thread that has work
left waits for a core on which another merely spins: trainings of small networks became six and
fifteen times as slow as alone, and two times so now (docs/results/busy-machine.md).
"""

import os

SPINS = "1000"  # rounds, some ten microseconds; GNU's own are 300,000
CHOSEN_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def shorten_spinning() -> bool:
    """Limit how long threads of OpenMP spin while they wait; False if the user set it already.

    It has to be called before PyTorch is imported, as OpenMP reads its settings once. It is a
    setting of the whole process, and of those that it starts, so that commands make it and a
    library does not.
    """
    if any(name in os.environ for name in CHOSEN_BY_USER):
        return False
    os.environ["GOMP_SPINCOUNT"] = SPINS
    return True
