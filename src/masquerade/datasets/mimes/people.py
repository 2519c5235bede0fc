"""People: random appearances and gaits, with attributes correlated with the action on demand.

P(attribute | action) = rate x (1 + correlation) for actions of even number and
rate x (1 - correlation) for odd ones. From this the floors follow in closed form.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.mimes.motion import Build, Gait, draw_gait
from masquerade.errors import UsageError

Colour = tuple[int, int, int]
Bits = NDArray[np.int64]  # (P,) 0 or 1 for each person

RATES = {"broad": 0.5, "warm": 0.5, "dark": 0.5, "face_mask": 0.5, "long_hair": 0.5, "hat": 0.2}
"""Rates of the binary attributes of people."""

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Shares of the people in the parts of the split by people."""

HAIR: tuple[Colour, ...] = ((26, 22, 26), (238, 200, 92), (176, 44, 26))
LIGHT: tuple[Colour, ...] = ((252, 214, 186), (244, 198, 164))
DARK: tuple[Colour, ...] = ((128, 76, 44), (104, 62, 38))
TROUSERS: tuple[Colour, ...] = ((40, 48, 84), (84, 84, 90), (48, 66, 52))


@dataclass(frozen=True, kw_only=True)
class Person:
    """A random appearance and gait."""

    number: int
    part: str  # train, val or test, in the split by people
    bits: dict[str, int]  # attribute to 0 or 1
    build: Build  # its height is a share of the frame's side
    gait: Gait
    skin: Colour
    top: Colour
    trousers: Colour
    hair: Colour
    hat: Colour
    stripes: int  # of the top, 0 to 2
    glasses: bool

    @property
    def name(self) -> str:
        """The value in the column `identity`."""
        return f"p{self.number:03d}"


def draw_people(
    count: int,
    *,
    seed: int,
    correlation: float,
    correlated: Sequence[str],
    gait: bool,
    looks: bool,
    builds: bool,
) -> tuple[Person, ...]:
    """The people of one benchmark; see `Mimes` for the arguments."""
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
    people = []
    for i in range(count):
        own = {name: int(column[i]) if looks else 0 for name, column in bits.items()}
        rng = np.random.default_rng([seed, 3, i] if looks else [seed, 3])
        hue = rng.uniform(-0.06, 0.11) if own["warm"] else rng.uniform(0.47, 0.7)
        person = Person(
            number=i,
            part=parts[i],
            bits=own,
            build=_draw_build(own["broad"], rng),
            gait=draw_gait(np.random.default_rng([seed, 2, i])) if gait else Gait(),
            skin=_near(DARK if own["dark"] else LIGHT, rng, 8),
            top=hsv(hue, rng.uniform(0.6, 0.95), rng.uniform(0.6, 0.95)),
            trousers=_near(TROUSERS, rng, 14),
            hair=_near(HAIR, rng, 10),
            hat=hsv(
                rng.choice((0.32, 0.85)) + rng.uniform(-0.04, 0.04), 0.85, rng.uniform(0.75, 1)
            ),
            stripes=int(rng.integers(3)),
            glasses=bool(rng.random() < 0.4),
        )
        if builds:
            person = replace(person, build=draw_build(np.random.default_rng([seed, 9, i])))
        people.append(person)
    return tuple(people)


def attribute_rate(name: str, leaning: int, correlation: float) -> float:
    """P(attribute | action) for actions of even (leaning 0) or odd (1) number."""
    return RATES[name] * (1 + correlation * (1 - 2 * leaning))


def even_action_probability(
    person: Person, *, correlation: float, correlated: Sequence[str]
) -> float:
    """P(an action of even number | the person's attributes), by Bayes' rule."""
    odds = [1.0, 1.0]
    for leaning in (0, 1):
        for name in correlated:
            rate = attribute_rate(name, leaning, correlation)
            odds[leaning] *= rate if person.bits[name] else 1 - rate
    return odds[0] / sum(odds)


def _parts(count: int, rng: np.random.Generator) -> list[str]:
    held = [max(1, round(count * SHARES[name])) for name in ("val", "test")]
    names = ["val"] * held[0] + ["test"] * held[1]
    names += ["train"] * (count - len(names))
    return [names[i] for i in rng.permutation(count)]


def _halves(parts: list[str], rng: np.random.Generator) -> Bits:
    """0 for half of the people of each part, 1 for the other half."""
    out = np.zeros(len(parts), dtype=np.int64)
    for part in SHARES:
        members = rng.permutation([i for i, name in enumerate(parts) if name == part])
        out[members[: (len(members) + int(rng.integers(2))) // 2]] = 1
    return out


def _bits(
    parts: list[str], leaning: Bits, rate: float, correlation: float, rng: np.random.Generator
) -> Bits:
    """0 or 1 for each person, with as many ones in each half of each part as the rate says."""
    out = np.zeros(len(parts), dtype=np.int64)
    for part in SHARES:
        rest = float(rng.random())
        for side in (0, 1):
            members = [i for i, p in enumerate(parts) if p == part and leaning[i] == side]
            wanted = len(members) * rate * (1 + correlation * (1 - 2 * side)) + rest
            ones = min(int(wanted), len(members))
            rest = wanted - ones  # the rounding of one half goes to the other
            out[rng.permutation(members)[:ones].astype(np.int64)] = 1
    return out


def _draw_build(broad: int, rng: np.random.Generator) -> Build:
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


def draw_build(rng: np.random.Generator) -> Build:
    """A random build: height, lengths of limbs and breadths, each by itself."""
    legs, arms, torso = rng.uniform(0.88, 1.12, 3)
    return Build(
        height=rng.uniform(0.75, 0.87),
        thigh=0.19 * legs,
        shin=0.18 * legs,
        torso=0.28 * torso,
        upper_arm=0.15 * arms,
        forearm=0.15 * arms,
        head=rng.uniform(0.13, 0.16),
        waist=rng.uniform(0.056, 0.165),
        chest=rng.uniform(0.075, 0.16),
        limb=rng.uniform(0.035, 0.053),
    )


def _near(colours: Sequence[Colour], rng: np.random.Generator, spread: int) -> Colour:
    base = colours[int(rng.integers(len(colours)))]
    moved = np.clip(np.array(base) + rng.integers(-spread, spread + 1, 3), 0, 255)
    return (int(moved[0]), int(moved[1]), int(moved[2]))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in 0 .. 255."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return (round(255 * red), round(255 * green), round(255 * blue))
