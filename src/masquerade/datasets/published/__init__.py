"""Readers of published label files: each turns one dataset's own format into a manifest.

Every reader takes the folder of the published files (or the label file) first. `videos` is the
folder that the clips' paths start from (None: that folder), `split` an official split, 1 to 3.
"""

from collections.abc import Callable

from masquerade.datasets.manifest import Manifest
from masquerade.datasets.published.celebv_hq import read_celebv_hq
from masquerade.datasets.published.hmdb51 import read_hmdb51
from masquerade.datasets.published.hvu import read_hvu
from masquerade.datasets.published.ipn import read_ipn
from masquerade.datasets.published.kth import read_kth
from masquerade.datasets.published.pa_hmdb51 import read_pa_hmdb51
from masquerade.datasets.published.sbu import read_sbu
from masquerade.datasets.published.ucf11 import read_ucf11
from masquerade.datasets.published.ucf101 import read_ucf101
from masquerade.datasets.published.ut_interaction import read_ut_interaction
from masquerade.datasets.published.vispr import read_vispr
from masquerade.datasets.published.vp import read_vp

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
"""Every reader by name."""
