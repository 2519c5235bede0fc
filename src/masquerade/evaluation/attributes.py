"""Binary attributes in the metrics that papers print: cMAP and class-wise F1, beside AUROC.

A constant guess has .5 in AUROC whatever the labels. In cMAP it has the mean rate of positives, and
in F1 the best one says yes to all: two figures are to be compared on the same test labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation.metric_specs import F1_ABOVE, Sheet, Target, by_metric, targets_of
from masquerade.evaluation.protocols import Protocol

METRICS = dict(zip(("auroc", "cmap", "f1", "f1-spact"), ("AUROC", "cMAP", *F1_ABOVE), strict=True))
"""What may be asked for, and what a finding calls it."""


def every_target(
    manifest: Manifest, protocols: Sequence[Protocol], metrics: Sequence[str]
) -> dict[str, tuple[Target, ...]]:
    """What is reported under each protocol, by its name.

    Args:
        manifest: the clips.
        protocols: whose labels.
        metrics: of binary attributes, in METRICS. AUROC is always there.

    Raises:
        UsageError: there is no such metric, or no binary attribute.
    """
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f"There is no metric {name!r}; choose of {', '.join(METRICS)}.")
    more = tuple(METRICS[name] for name in METRICS if name in metrics and name != "auroc")
    found = {one.name: targets_of(manifest, one, more=more) for one in protocols}
    if more and not any(_is_more(target) for targets in found.values() for target in targets):
        raise UsageError(
            f"{' and '.join(more)} would be of binary attributes, and there is none to report: "
            "leave out --metrics."
        )
    return found


def counted(line: str, target: Target, sheet: Sheet) -> tuple[str, ...]:
    """How many attributes are in a mean that was asked for; of any other label nothing.

    Args:
        line: of the table.
        target: the label.
        sheet: of the test clips of that line.
    """
    if not _is_more(target):
        return ()
    scored = [name for name in target.columns if {0, 1} <= set(np.unique(sheet.codes[name]))]
    names = ", ".join(scored) or "none"
    if len(scored) == len(target.columns):
        return (f"{target.name}: the mean over {len(scored)} binary attribute(s), {names}.",)
    return (
        f"{target.name} of {line}: the mean over {len(scored)} of {len(target.columns)} binary "
        f"attribute(s), {names}; the others have one value only among its test clips.",
    )


def _is_more(target: Target) -> bool:
    return target.name == by_metric(target.metric)
