"""Clips of some actions: what is left, and that nothing of the others is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.mimes import ACTION_SETS, Mimes
from masquerade.datasets.subset import of_actions
from masquerade.errors import UsageError


def test_two_sets_of_actions_share_no_clip_and_no_class() -> None:
    whole = Mimes(size=32, frames=2, clips=64, people=8).manifest
    parts = [of_actions(whole, names) for names in ACTION_SETS]
    paths = [{clip.path for clip in part.clips} for part in parts]
    assert not paths[0] & paths[1] and len(paths[0] | paths[1]) == 64
    for part, names in zip(parts, ACTION_SETS, strict=True):
        assert part.column("action").values == tuple(sorted(names))
        assert set(part.targets("action")) == set(range(len(names)))
        assert [c.name for c in part.columns] == [c.name for c in whole.columns]
        assert {c.name: c.role for c in part.columns} == {c.name: c.role for c in whole.columns}


def manifest(**columns: list[str]) -> Manifest:
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return make_manifest(Path(), [Clip(path=f"{i}.mp4", cells=c) for i, c in enumerate(rows)])


def test_values_and_kinds_are_those_that_are_left() -> None:
    given = manifest(action=["a", "b", "a"], place=["in", "out", "in"], hat=["0", "1", "1"])
    left = of_actions(given, ["a"])
    assert left.column("place").values == ("in",)
    assert np.array_equal(left.targets("hat"), [0, 1])
    only = of_actions(given, ["b"])
    assert only.column("hat").kind == "binary" and np.array_equal(only.targets("hat"), [1])


@pytest.mark.parametrize(
    ("given", "names", "said"),
    [
        (manifest(action=["a", "b"]), ["a", "c", "d"], "no action c, d; choose of a, b"),
        (manifest(action=["a", "b"]), [], "choose of a, b"),
        (manifest(hat=["0", "1"]), ["a"], "one column of one action"),
        (manifest(action=["a", "b"], action_2=["a", "b"]), ["a"], "one column of one action"),
    ],
)
def test_what_is_not_there_is_said(given: Manifest, names: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        of_actions(given, names)
