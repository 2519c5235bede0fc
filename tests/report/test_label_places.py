"""Names of points in a plot."""

from __future__ import annotations

from itertools import combinations

from masquerade.report.label_places import Box, place_labels

AREA = Box(0, 0, 400, 400)


def boxes(points: list[tuple[float, float]], size: tuple[float, float]) -> list[Box]:
    found = []
    for place in place_labels(points, [size] * len(points), AREA):
        left = place.x - size[0] if place.leftwards else place.x
        found.append(Box(left, place.y - size[1] / 2, left + size[0], place.y + size[1] / 2))
    return found


def test_a_lone_name_stands_beside_its_point() -> None:
    (place,) = place_labels([(100, 100)], [(50, 12)], AREA)
    assert not place.far and not place.leftwards and 100 < place.x < 112


def test_names_of_a_crowd_cover_neither_each_other_nor_a_point() -> None:
    crowd = [(300.0 + 4 * i, 200.0 + 3 * (i % 3)) for i in range(8)]
    found = boxes(crowd, (60, 12))
    assert all(a.overlap(b) == 0 for a, b in combinations(found, 2))
    points = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in crowd]
    assert all(box.overlap(point) == 0 for box in found for point in points)


def test_names_stay_in_the_plot() -> None:
    (box,) = boxes([(395, 395)], (60, 12))
    assert box.right <= 400 and box.high <= 400


def test_more_names_than_there_is_room_for_are_all_placed() -> None:
    placed = boxes([(200.0, 200.0)] * 60, (60, 12))
    assert len(placed) == 60
    assert any(one.overlap(other) for one, other in combinations(placed, 2)), "there was room"
