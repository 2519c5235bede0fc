"""The mimes benchmark as a dataset: clip i is drawn from the seed and its number alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import F32, U8
from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.mimes import motion, scenes
from masquerade.datasets.mimes.figure import Figure
from masquerade.datasets.mimes.people import (
    RATES,
    Person,
    attribute_rate,
    draw_people,
    even_action_probability,
)
from masquerade.errors import UsageError
from masquerade.metrics.floors import ExpectedFloors, expected_binary_floors, expected_class_floors

ACTION_SETS = (tuple(motion.ACTIONS)[:4], tuple(motion.ACTIONS)[4:])
"""Two disjoint sets, to train on one and test on unseen actions of the other."""

ATTRIBUTE_SETS = {"person": tuple(RATES), "place": ("scene", "object")}
"""Two disjoint sets: attributes of the person and of the place."""

MOST_PIXELS = 1 << 26  # of all frames of a clip; each takes some 35 bytes of memory
_ROUNDS = ("train", "test", "train", "val", "train", "test", "train", "train")
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class Mime:
    """One clip with its ground truth."""

    clip: U8  # (3, T, H, W) RGB
    labels: dict[str, str]  # column name to cell, as in the manifest
    parts: U8  # (T, H, W) indices of PARTS
    keypoints: F32  # (T, K, 2), x and y of KEYPOINTS in pixels, also where occluded
    flow: F32  # (T, H, W, 2) in pixels, from frame t to t-1; zero in the first frame and in shadows
    limbs: U8  # (T, H, W) number of the visible limb, which is one rigid piece; 0 for none

    @property
    def person(self) -> NDArray[np.bool_]:
        """(T, H, W) mask of the person."""
        return self.parts > 0


class Mimes:
    """A procedural benchmark of acting people; nothing is downloaded.

    Args:
        size: side of the frames in pixels, 32 to 256.
        frames: T of a clip.
        clips: how many; clip i is the same in a larger set.
        seed: of everything.
        people: how many; clip i shows person i modulo `people`. With few people attributes are hard
            to learn, since the people of the test split are unseen.
        correlation: from 0 to 1, of the `correlated` attributes with the action.
        correlated: binary attributes.
        gait: whether each person has their own gait.
        looks: whether each person has their own appearance; False: identity is gait alone, and the
            attributes of appearance are left out.
        shuffle_looks: whether each clip shows its person with somebody else's appearance, drawn for
            that clip; identity is gait alone then, too, and attributes are left out.
        builds: whether people who otherwise look alike (`looks` False) each have their own build:
            height, breadths and lengths of limbs. Without `gait` identity is build alone.
        actions: names of `ACTIONS`; None: all.
    """

    def __init__(
        self,
        *,
        size: int = 64,
        frames: int = 16,
        clips: int = 1024,
        seed: int = 0,
        people: int = 128,
        correlation: float = 0.0,
        correlated: Sequence[str] = ("warm",),
        gait: bool = True,
        looks: bool = True,
        shuffle_looks: bool = False,
        builds: bool = False,
        actions: Sequence[str] | None = None,
    ) -> None:
        if not 32 <= size <= 256 or frames < 1 or clips < 1:
            raise UsageError(
                f"mimes are 32 to 256 pixels wide and at least one frame and one clip long; "
                f"got size {size}, frames {frames}, clips {clips}."
            )
        if frames * size**2 > MOST_PIXELS:
            raise UsageError(
                f"A clip of mimes is drawn in memory: of {size} x {size} pixels it may have "
                f"{MOST_PIXELS // size**2:,} frames, not {frames:,}."
            )
        self.size, self.frames, self.clips, self.seed = size, frames, clips, seed
        self.actions = tuple(motion.ACTIONS if actions is None else actions)
        for name in self.actions:
            if name not in motion.ACTIONS:
                raise UsageError(f"No action is called {name!r}: {', '.join(motion.ACTIONS)}.")
        if len(set(self.actions)) < len(self.actions):
            raise UsageError("An action is named twice: name each once.")
        if len(self.actions) < 2 or (correlation and len(self.actions) % 2):
            raise UsageError("Give at least two actions, an even number if they are correlated.")
        if shuffle_looks and not looks:
            raise UsageError("People who all look alike cannot be shuffled; leave one of both out.")
        if builds and looks:
            raise UsageError("People with looks of their own have builds already: leave one out.")
        if correlation and (shuffle_looks or not looks):
            raise UsageError(
                "Only people's own looks can go with the action: leave the correlation out, or "
                "give people looks of their own."
            )
        self.correlation, self.looks, self.shuffle_looks = correlation, looks, shuffle_looks
        self._attributes = tuple(RATES) if looks and not shuffle_looks else ()
        self.correlated = tuple(correlated) if correlation else ()
        self.people = draw_people(
            people,
            seed=seed,
            correlation=correlation,
            correlated=correlated,
            gait=gait,
            looks=looks,
            builds=builds,
        )

    def __len__(self) -> int:
        return self.clips

    def labels(self, i: int) -> dict[str, str]:
        """The manifest's cells of one clip.

        `split` has other people in test, `split_identity` has the same people in other clips.
        """
        person, turn = self._person(i), i // len(self.people)
        rng = np.random.default_rng([self.seed, 5, i])
        cells = {"action": self._action(person, turn)}
        cells |= {name: str(person.bits[name]) for name in self._attributes}
        cells["scene"] = scenes.SCENES[int(rng.integers(len(scenes.SCENES)))]
        cells["object"] = scenes.OBJECTS[int(rng.integers(len(scenes.OBJECTS)))]
        cells |= {"identity": person.name, "split": person.part}
        return cells | {"split_identity": _ROUNDS[turn % len(_ROUNDS)]}

    def clip(self, i: int) -> Mime:
        """Draw clip i with its ground truth."""
        figure, still = self._figure(i)
        return Mime(
            clip=np.ascontiguousarray(figure.paint(still).transpose(3, 0, 1, 2)),
            labels=self.labels(i),
            parts=figure.parts(),
            keypoints=figure.keypoints(),
            flow=figure.flow(),
            limbs=figure.limbs,
        )

    def pixels(self, which: Iterable[int]) -> U8:
        """The frames of the clips of these numbers: (N, 3, T, H, W)."""
        drawn = [figure.paint(still) for figure, still in map(self._figure, which)]
        return np.ascontiguousarray(np.stack(drawn).transpose(0, 4, 1, 2, 3))

    @cached_property
    def manifest(self) -> Manifest:
        """The labels as a manifest with the paths of `write_mimes`."""
        clips = [Clip(path=clip_path(i), cells=self.labels(i)) for i in range(self.clips)]
        return make_manifest(Path(), clips)

    def targets(self, name: str) -> NDArray[np.int64]:
        """(N,) the labels of one column as numbers, as `Manifest.targets`."""
        return self.manifest.targets(name)

    @property
    def splits(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        """The numbers of the clips in each part of each split column."""
        names = [column.name for column in self.manifest.of_role("split")]
        cells = {name: np.array(self.manifest.cells(name)) for name in names}
        parts = ("train", "val", "test")
        return {name: {p: np.flatnonzero(cells[name] == p) for p in parts} for name in names}

    @property
    def floors(self) -> dict[str, ExpectedFloors]:
        """Expected floors in closed form, of every label column."""
        out = {"action": expected_class_floors(len(self.actions))}
        for name in self._attributes:
            correlation = self.correlation * (name in self.correlated)
            rates = (attribute_rate(name, side, correlation) for side in (0, 1))
            out[name] = expected_binary_floors(*rates)
        out["scene"] = expected_class_floors(len(scenes.SCENES))
        out["object"] = expected_class_floors(len(scenes.OBJECTS))
        return out | {"identity": expected_class_floors(len(self.people))}

    def _person(self, i: int) -> Person:
        if not 0 <= i < self.clips:
            raise UsageError(f"There is no clip {i}; they go from 0 to {self.clips - 1}.")
        return self.people[i % len(self.people)]

    def _shown(self, i: int) -> Person:
        """Who clip i shows, in the looks that it shows them in."""
        person = self._person(i)
        if not self.shuffle_looks:
            return person
        other = int(np.random.default_rng([self.seed, 8, i]).integers(len(self.people)))
        return replace(self.people[other], number=person.number, part=person.part, gait=person.gait)

    def _action(self, person: Person, turn: int) -> str:
        """The action of a person's clip number `turn`; actions are balanced for each person."""
        share = len(self.actions[::2]) / len(self.actions)
        if self.correlated:
            share = even_action_probability(
                person, correlation=self.correlation, correlated=self.correlated
            )
        start = float(np.random.default_rng([self.seed, 4, person.number]).random())
        even = (start + _GOLDEN * np.arange(turn + 1)) % 1 < share
        side = 0 if even[turn] else 1
        names = self.actions[side::2]
        before = int((even[:turn] == even[turn]).sum())  # clips so far on this side
        block, place = divmod(before, len(names))
        rng = np.random.default_rng([self.seed, 6, person.number, side, block])
        return names[rng.permutation(len(names))[place]]

    def _figure(self, i: int) -> tuple[Figure, U8]:
        """The person of clip i in all its frames, and the background (H, W, 3)."""
        person, cells = self._shown(i), self.labels(i)
        rng = np.random.default_rng([self.seed, 7, i])
        staging = motion.draw_staging(rng)
        action, facing = motion.ACTIONS[cells["action"]], staging.facing
        x = motion.walk_path(action, staging, person.gait, self.frames) * self.size
        scale = person.build.height * self.size
        phases = motion.channel_phases(action, staging, person.gait, self.frames)
        build, ground = replace(person.build, height=scale), scenes.GROUND * self.size
        limbs = motion.place_limbs(phases, person.gait, build, facing=facing, x=x, ground=ground)
        middle = 0.5 + staging.middle * 0.2  # not of one frame: that would reveal the direction
        place, item = cells["scene"], cells["object"]
        still = scenes.background(place, item, size=self.size, person=middle, rng=rng)
        return Figure(person, limbs, facing=facing, scale=scale, size=self.size), still


def clip_path(i: int) -> str:
    """The path of clip i, relative to the manifest."""
    return f"clips/{i:06d}.mp4"
