"""A digest of packets that does not depend on the container around them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from masquerade.video.packet_digest import PacketDigest

UNIT = st.binary(min_size=1, max_size=40).filter(
    lambda unit: b"\x00\x00\x01" not in unit and not unit.endswith(b"\x00")
)
PACKETS = st.lists(st.lists(UNIT, min_size=1, max_size=4), max_size=4)
START, AVCC = b"\x00\x00\x00\x01\x67", b"\x01\x64\x00\x1f"  # how extradata of both kinds begins


def digest(packets: list[bytes], extradata: bytes | None) -> tuple[int, bytes]:
    found = PacketDigest(extradata)
    for packet in packets:
        found.add(packet)
    return found.value()


def prefixed(packets: list[list[bytes]]) -> list[bytes]:
    return [b"".join(len(u).to_bytes(4, "big") + u for u in units) for units in packets]


@given(packets=PACKETS, code=st.sampled_from([b"\x00\x00\x01", b"\x00\x00\x00\x01"]))
def test_start_codes_and_lengths_give_one_digest(packets: list[list[bytes]], code: bytes) -> None:
    separated = [b"".join(code + unit for unit in units) for units in packets]
    assert digest(separated, START) == digest(separated, None)
    assert digest(separated, START) == digest(prefixed(packets), AVCC)


@given(packets=PACKETS, data=st.data())
def test_units_may_be_split_otherwise_over_as_many_packets(
    packets: list[list[bytes]], data: st.DataObject
) -> None:
    flat = [unit for units in packets for unit in units]
    places = st.lists(st.integers(0, len(flat)), min_size=len(packets), max_size=len(packets))
    ends = [*sorted(data.draw(places))[1:], len(flat)][: len(packets)]
    others = [flat[a:b] for a, b in pairwise([0, *ends])]
    assert len(others) == len(packets)
    assert digest(prefixed(packets), AVCC) == digest(prefixed(others), AVCC)


@given(units=st.lists(UNIT, min_size=2, max_size=6), data=st.data())
def test_a_unit_that_is_joined_lost_or_moved_gives_another_digest(
    units: list[bytes], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(units) - 2))
    before, (one, two), after = units[:at], units[at : at + 2], units[at + 2 :]
    own = digest(prefixed([units]), AVCC)
    assert digest(prefixed([[*before, one + two, *after]]), AVCC) != own
    assert digest(prefixed([[*before, one, *after]]), AVCC) != own
    assert (digest(prefixed([[*before, two, one, *after]]), AVCC) == own) == (one == two)


@given(packets=PACKETS, others=PACKETS)
def test_other_units_give_another_digest(
    packets: list[list[bytes]], others: list[list[bytes]]
) -> None:
    same = digest(prefixed(packets), AVCC) == digest(prefixed(others), AVCC)
    flat, other = ([u for units in one for u in units] for one in (packets, others))
    assert same == ((len(packets), flat) == (len(others), other))
