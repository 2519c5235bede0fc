"""Who acts: a person is a fixed draw of looks and of a gait; what of it tells the action is a knob.

Half of the people lean to the even actions, half to the odd ones, as far as `correlation` says:
P(bit | action) = rate x (1 + correlation) for actions of even number, rate x (1 - correlation) for
odd ones. From this the floors follow in closed form.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.mimes.motion import Build, Gait, draw_gait
from masquerade.errors import UsageError

Colour = tuple[int, int, int]

RATES = {"broad": 0.5, "warm": 0.5, "dark": 0.5, "face_mask": 0.5, "long_hair": 0.5, "hat": 0.2}
"""Binary attributes of a person, and the share that has them; the hat is the rare one."""

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Of the people, in the split where nobody of one part is in another."""

HAIR: tuple[Colour, ...] = ((26, 22, 26), (238, 200, 92), (176, 44, 26))
LIGHT: tuple[Colour, ...] = ((252, 214, 186), (244, 198, 164))
DARK: tuple[Colour, ...] = ((128, 76, 44), (104, 62, 38))
TROUSERS: tuple[Colour, ...] = ((40, 48, 84), (84, 84, 90), (48, 66, 52))


@dataclass(frozen=True, kw_only=True)
class Person:
    """A fixed draw of looks and gait.

    Args:
        number: from 0.
        part: train, val or test, where people are kept apart.
        leaning: 0 or 1, the actions that this person's correlated attributes stand for.
        bits: attribute to 0 or 1.
        build: lengths of the body; its height is a share of the frame's side.
        gait: the signature in motion.
        skin, top, trousers, hair, hat: RGB.
        stripes: of the top, 0 to 2.
        glasses: whether any are worn.
    """

    number: int
    part: str
    leaning: int
    bits: dict[str, int]
    build: Build
    gait: Gait
    skin: Colour
    top: Colour
    trousers: Colour
    hair: Colour
    hat: Colour
    stripes: int
    glasses: bool

    @property
    def name(self) -> str:
        """As in the column `identity`."""
        return f"p{self.number:03d}"


def draw_people(
    count: int, *, seed: int, correlation: float, correlated: Sequence[str], gait: bool, looks: bool
) -> tuple[Person, ...]:
    """Everyone of one benchmark.

    Args:
        count: at least 4.
        seed: of all draws.
        correlation: from 0 to 1, how far the correlated attributes lean to their actions.
        correlated: names of `RATES`.
        gait: whether each moves in a way of their own.
        looks: whether each looks like themselves; False: all like one figure, gait apart.
    """
    if count < 4:
        raise UsageError(f"{count} people cannot be split in three; ask for at least 4.")
    if not 0 <= correlation <= 1:
        raise UsageError(f"A correlation of {correlation} is not between 0 and 1.")
    for name in correlated:
        if name not in RATES:
            raise UsageError(f"No attribute {name!r} can be correlated; one of {', '.join(RATES)}.")
    rng = np.random.default_rng([seed, 1])
    parts = _parts(count, rng)
    leaning = _halves(parts, rng)
    bits = {
        name: _bits(parts, leaning, rate, correlation * (name in correlated), rng)
        for name, rate in RATES.items()
    }
    return tuple(
        _person(
            i,
            parts[i],
            int(leaning[i]),
            {name: int(column[i]) if looks else 0 for name, column in bits.items()},
            seed=seed,
            gait=gait,
            looks=looks,
        )
        for i in range(count)
    )


def rate_given(name: str, leaning: int, correlation: float) -> float:
    """P(bit = 1 | action) of a correlated attribute.

    Args:
        name: of `RATES`.
        leaning: 0 for actions of even number, 1 for odd.
        correlation: from 0 to 1.
    """
    return RATES[name] * (1 + correlation * (1 - 2 * leaning))


def chance_of_even(person: Person, *, correlation: float, correlated: Sequence[str]) -> float:
    """P(an action of even number | the person's bits), by Bayes' rule.

    Args:
        person: whose bits.
        correlation: from 0 to 1.
        correlated: the attributes that depend on the action, each by itself.
    """
    odds = [1.0, 1.0]
    for leaning in (0, 1):
        for name in correlated:
            rate = rate_given(name, leaning, correlation)
            odds[leaning] *= rate if person.bits[name] else 1 - rate
    return odds[0] / sum(odds)


def _parts(count: int, rng: np.random.Generator) -> list[str]:
    held = [max(1, round(count * SHARES[name])) for name in ("val", "test")]
    names = ["val"] * held[0] + ["test"] * held[1]
    names += ["train"] * (count - len(names))
    return [names[i] for i in rng.permutation(count)]


def _halves(parts: list[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """Half of each part leans to the one side, half to the other."""
    out = np.zeros(len(parts), dtype=np.int64)
    for part in SHARES:
        members = rng.permutation([i for i, name in enumerate(parts) if name == part])
        out[members[: (len(members) + int(rng.integers(2))) // 2]] = 1
    return out


def _bits(
    parts: list[str],
    leaning: NDArray[np.int64],
    rate: float,
    correlation: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """As many ones in each half of each part as the rate says, up to one that chance decides."""
    out = np.zeros(len(parts), dtype=np.int64)
    for part in SHARES:
        carry = float(rng.random())
        for side in (0, 1):
            members = [i for i, p in enumerate(parts) if p == part and leaning[i] == side]
            wanted = len(members) * rate * (1 + correlation * (1 - 2 * side)) + carry
            ones = min(int(wanted), len(members))
            carry = wanted - ones  # what one half rounds off the other gets
            out[rng.permutation(members)[:ones].astype(np.int64)] = 1
    return out


def _person(
    number: int,
    part: str,
    leaning: int,
    bits: dict[str, int],
    *,
    seed: int,
    gait: bool,
    looks: bool,
) -> Person:
    signature = draw_gait(np.random.default_rng([seed, 2, number])) if gait else Gait()
    rng = np.random.default_rng([seed, 3, number] if looks else [seed, 3])
    hue = rng.uniform(-0.06, 0.11) if bits["warm"] else rng.uniform(0.47, 0.7)
    return Person(
        number=number,
        part=part,
        leaning=leaning,
        bits=bits,
        build=_build(bits["broad"], rng),
        gait=signature,
        skin=_near(DARK if bits["dark"] else LIGHT, rng, 8),
        top=_hsv(hue, rng.uniform(0.6, 0.95), rng.uniform(0.6, 0.95)),
        trousers=_near(TROUSERS, rng, 14),
        hair=_near(HAIR, rng, 10),
        hat=_hsv(rng.choice((0.32, 0.85)) + rng.uniform(-0.04, 0.04), 0.85, rng.uniform(0.75, 1)),
        stripes=int(rng.integers(3)),
        glasses=bool(rng.random() < 0.4),
    )


def _build(broad: int, rng: np.random.Generator) -> Build:
    legs, width = rng.uniform(0.93, 1.07), rng.uniform(0.94, 1.06)
    return Build(
        height=rng.uniform(0.82, 0.87),
        thigh=0.19 * legs,
        shin=0.18 * legs,
        torso=0.28 * (2 - legs),
        head=rng.uniform(0.145, 0.158),
        waist=width * (0.165 if broad else 0.056),
        chest=width * (0.16 if broad else 0.075),
        limb=width * (0.053 if broad else 0.035),
    )


def _near(colours: Sequence[Colour], rng: np.random.Generator, spread: int) -> Colour:
    base = colours[int(rng.integers(len(colours)))]
    moved = np.clip(np.array(base) + rng.integers(-spread, spread + 1, 3), 0, 255)
    return (int(moved[0]), int(moved[1]), int(moved[2]))


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return (round(255 * red), round(255 * green), round(255 * blue))
