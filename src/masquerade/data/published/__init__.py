"""Label files as their authors published them, each read into the one manifest."""

from __future__ import annotations

from collections.abc import Callable

from masquerade.data.manifest import Manifest
from masquerade.data.published.celebv_hq import read_celebv_hq
from masquerade.data.published.hmdb51 import read_hmdb51
from masquerade.data.published.hvu import read_hvu
from masquerade.data.published.ipn import read_ipn
from masquerade.data.published.kth import read_kth
from masquerade.data.published.pa_hmdb51 import read_pa_hmdb51
from masquerade.data.published.sbu import read_sbu
from masquerade.data.published.ucf11 import read_ucf11
from masquerade.data.published.ucf101 import read_ucf101
from masquerade.data.published.ut_interaction import read_ut_interaction
from masquerade.data.published.vispr import read_vispr
from masquerade.data.published.vp import read_vp

READERS: dict[str, Callable[..., Manifest]] = {
    "celebv-hq": read_celebv_hq,
    "hmdb51": read_hmdb51,
    "hvu": read_hvu,
    "ipn": read_ipn,
    "kth": read_kth,
    "pa-hmdb51": read_pa_hmdb51,
    "sbu": read_sbu,
    "ucf101": read_ucf101,
    "ucf11": read_ucf11,
    "ut-interaction": read_ut_interaction,
    "vispr": read_vispr,
    "vp": read_vp,
}
"""Every reader by name: a new one is one file and one line here. All take a path first, the rest
by name."""
