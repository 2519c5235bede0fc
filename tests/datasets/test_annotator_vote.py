"""The label of most annotators wins, ties are said, and kappa is what the hand computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masquerade.datasets.annotator_vote import fleiss_kappa, majority, vote
from masquerade.datasets.manifest import (
    Clip,
    Manifest,
    make_manifest,
    read_manifest,
    write_manifest,
)
from masquerade.errors import UsageError

# By hand. Four clips, three raters, two labels; counts (3,0) (2,1) (1,2) (0,3).
#   P_i = sum n(n-1) / (3*2): 6/6, 2/6, 2/6, 6/6; mean P = 2/3. Shares 6/12 each: P_e = 1/2.
#   kappa = (2/3 - 1/2) / (1/2) = 1/3.
HALF = [[3, 0], [2, 1], [1, 2], [0, 3]]
# Three clips, four raters, three labels; counts (4,0,0) (1,1,2) (0,4,0).
#   P_i = 12/12, 2/12, 12/12; mean P = 26/36. Shares 5/12, 5/12, 2/12: P_e = 54/144 = 3/8.
#   kappa = (26/36 - 3/8) / (5/8) = 25/72 * 8/5 = 5/9.
THREE = [[4, 0, 0], [1, 1, 2], [0, 4, 0]]


@pytest.mark.parametrize(("counts", "kappa"), [(HALF, 1 / 3), (THREE, 5 / 9)])
def test_kappa_by_hand(counts: list[list[int]], kappa: float) -> None:
    assert fleiss_kappa(counts) == pytest.approx(kappa, abs=1e-12)


def test_kappa_at_its_ends() -> None:
    assert fleiss_kappa([[3, 0], [0, 3]]) == pytest.approx(1.0)
    assert fleiss_kappa([[1, 1], [1, 1]]) == pytest.approx(-1.0)
    assert fleiss_kappa([[3, 0], [3, 0]]) is None  # nothing to agree about
    assert fleiss_kappa([[1, 0], [0, 1]]) is None  # nothing was rated twice
    with pytest.raises(UsageError, match="items by categories"):
        fleiss_kappa([1, 2])


def test_items_rated_once_do_not_count() -> None:
    assert fleiss_kappa([*HALF, [1, 0], [0, 0]]) == pytest.approx(1 / 3)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
def test_kappa_is_at_most_one_and_blind_to_the_order(rows: list[tuple[int, ...]]) -> None:
    kappa = fleiss_kappa(rows)
    flipped = fleiss_kappa(np.array(rows)[::-1, ::-1])
    assert (kappa is None) == (flipped is None)
    if kappa is not None and flipped is not None:
        assert kappa <= 1 + 1e-9
        assert kappa == pytest.approx(flipped, abs=1e-9)


@pytest.mark.parametrize(
    ("ratings", "unknown", "present", "first"),
    [
        (["1", "1", "0"], "1", "1", "1"),
        (["0", "0", "1"], "0", "0", "0"),
        (["0", "1"], "", "1", "0"),
        (["", "0", ""], "0", "0", "0"),
        (["", ""], "", "", ""),
        (["0", "1", "1", "0"], "", "1", "0"),
    ],
)
def test_ties_are_what_was_asked(
    ratings: list[str], unknown: str, present: str, first: str
) -> None:
    assert majority(ratings, binary=True) == unknown
    assert majority(ratings, ties="present", binary=True) == present
    assert majority(ratings, ties="first", binary=True) == first


def test_a_tie_of_classes_has_no_positive_label() -> None:
    assert majority(["a", "b"], ties="present") == ""
    assert majority(["b", "a", "c", "a", "b"], ties="first") == "b"


def annotator(*rows: tuple[str, str, str, str], group: str = "g") -> Manifest:
    clips = [
        Clip(path=path, cells={"action": action, "hat": hat, "things": things, "group": group})
        for path, action, hat, things in rows
    ]
    kinds = {"hat": "binary", "things": "multi-label", "action": "classes"}
    return make_manifest(Path("x"), clips, kinds=kinds)  # type: ignore[arg-type]


def test_every_column_is_voted_on_in_its_own_way() -> None:
    result = vote(
        [
            annotator(("a", "run", "1", "cup|hat"), ("b", "run", "0", "")),
            annotator(("a", "walk", "1", "cup"), ("b", "run", "1", "hat")),
            annotator(("a", "walk", "0", "bag"), ("c", "run", "1", "hat")),
        ]
    )
    assert [(c.path, dict(c.cells)) for c in result.manifest.clips] == [
        ("a", {"action": "walk", "hat": "1", "things": "cup", "group": "g"}),
        ("b", {"action": "run", "hat": "", "things": "hat", "group": "g"}),
        ("c", {"action": "run", "hat": "1", "things": "hat", "group": "g"}),
    ]
    rows = {row.column: row for row in result.agreement}
    assert list(rows) == ["action", "hat", "things=bag", "things=cup", "things=hat"]
    assert (rows["hat"].clips, rows["hat"].rated, rows["hat"].ties) == (3, 2, 1)
    # hat: counts (no, yes) (1,2) (1,1): P = (1/3 + 0) / 2, P_e = (2/5)^2 + (3/5)^2 = 13/25.
    assert rows["hat"].kappa == pytest.approx((1 / 6 - 13 / 25) / (12 / 25))
    assert json.loads(result.to_json())["agreement"][1]["ties"] == 1


@pytest.mark.parametrize(
    ("cells", "unknown", "present", "first"),
    [
        (["cup", "cup|hat"], "", "cup|hat", "cup"),  # whether there is a hat is not known
        (["bag", "cup", "hat"], "|", "|", "|"),  # of none more than one of three is sure
        (["|", "|"], "|", "|", "|"),
        (["", "|"], "|", "|", "|"),
        (["", ""], "", "", ""),
    ],
)
def test_no_value_of_a_set_is_no_tie(
    tmp_path: Path, cells: list[str], unknown: str, present: str, first: str
) -> None:
    """A set that is voted empty is known to be so; one with a tied value is not known."""
    given = [annotator(("a", "run", "1", cell), ("b", "run", "1", "bag")) for cell in cells]
    for ties, wanted in {"unknown": unknown, "present": present, "first": first}.items():
        result = vote(given, ties=ties).manifest  # type: ignore[arg-type]
        assert result.cells("things")[0] == wanted
        write_manifest(result, tmp_path / "voted.csv")
        codes = read_manifest(tmp_path / "voted.csv").targets("things")[0]
        assert codes.tolist() == result.targets("things")[0].tolist()
        assert (codes >= 0).all() == bool(wanted)


def test_annotators_must_speak_of_the_same_things() -> None:
    one = annotator(("a", "run", "1", "cup"))
    with pytest.raises(UsageError, match="two or more"):
        vote([one])
    with pytest.raises(UsageError, match="differ in column group of a"):
        vote([one, annotator(("a", "run", "1", "cup"), group="h")])
    other = make_manifest(Path("x"), [Clip(path="a", cells={"action": "run"})])
    with pytest.raises(UsageError, match="Annotator 2 does not have"):
        vote([one, other])
