"""Compare the videos of a folder without labels: which may show the same person or scene?

No network that recognizes people is trained here. What can be seen again of people in a published
video (the colours of who is found, their outline as they move, the proportions of their bodies) is
compared between videos. People are named by colours alone, since outlines and proportions hardly
tell them apart without training (docs/results/linkage.md). Where the raw videos are at hand, each
published video is looked for among them, by all features.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from masquerade.arrays import U8
from masquerade.attack.finders import POSSIBLE_SCORES, crop, shrink
from masquerade.attack.finding import MOST_PROOFS, Finding, Level, Proof, unique_names
from masquerade.errors import MissingError
from masquerade.evaluation.gait_attackers import gait_energy_image
from masquerade.evaluation.kernel_ridge import coarse_mean_frame, colour_histogram
from masquerade.evaluation.pose_attackers import LEAST_SEEN, bone_ratios
from masquerade.extraction.flow_clip import flow_clip, flow_frame
from masquerade.extraction.poses import find_people, pose_sequence, pose_tracker
from masquerade.regions.boxes import Box, box_pixels, to_boxes
from masquerade.regions.ssd_people import SsdPeople
from masquerade.text import escape, name_some

Described = Mapping[str, NDArray[np.float64]]
"""Feature to (2, D), one row for each half of a video; a feature that shows nothing is left out."""

LOOKED, CONSECUTIVE = 12, 25  # frames of each half: spread over it, and in a row from its middle
LEAST_FRAMES = 16  # of a video that has two halves to compare
COLOURS, SCENE = "the colours of people", "the scene"
ABOUT = {
    COLOURS: "people as a detector finds them",
    "the outline of what moves": "optical flow",
    "the proportions of bodies": "pose networks",
    SCENE: "the median picture, coarse",
}
"""Features, and what they are read by."""
NEAR = 0.2
"""Distance of two videos' colours up to which they may show the same person; 0 to 1.41.

The distance of square roots of colour shares, chosen on set 1 of UT-Interaction.
"""
MAX_RATIO = {SCENE: 3.0}
"""How many times as far apart as two halves of one video counts as alike; others not more.

A still camera sees nearly the same in both halves, and the same place in another video lies farther
off, but other places many times as far.
"""
# spread of a picture and mean of an outline below which there is nothing to compare
MIN_CONTENT = 0.02
MOST_CHANCE = 0.05  # probability, over all features, that a guess ranks as many sources first
SCENE_SIZE = (64, 48)  # pixels of the scene


@dataclass(eq=False)
class VideoDescriber:
    """What videos show of people and scenes, in two halves each.

    Raises:
        MissingError: the network for people is not installed.
    """

    poses: bool = True  # whether pose networks are there
    # of the last video: the surest `person`, where there is one, and the `scene`
    shown: dict[str, Proof] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._person = SsdPeople(threshold=POSSIBLE_SCORES["person"])
        try:
            pose_tracker()
        except MissingError:
            self.poses = False

    def describe(self, count: int, frames: Iterable[U8]) -> Described:
        """The features of a video of so many frames; `frames` gives them (H, W, 3) in order."""
        self.shown = {}
        if count < LEAST_FRAMES:
            return {}
        halves = [_half(start, end) for start, end in ((0, count // 2), (count // 2, count))]
        looked: list[dict[int, U8]] = [{}, {}]
        flow: list[list[U8]] = [[], []]
        for number, frame in enumerate(frames):
            for half, (spread, row) in enumerate(halves):
                if number in row:
                    flow[half].append(flow_frame(frame))
                if number in spread:
                    looked[half][number] = shrink([frame])[0][0]
        if not all((*looked, *flow)):  # fewer frames than were counted
            return {}
        both = [self._describe(*sampled) for sampled in zip(looked, flow, strict=True)]
        shared = [name for name in ABOUT if all(name in features for features in both)]
        return {name: np.stack([features[name] for features in both]) for name in shared}

    def _describe(self, looked: Mapping[int, U8], flow: Sequence[U8]) -> Described:
        people, outline, bones, scene = ABOUT
        features: dict[str, NDArray[np.float64]] = {}
        colours = [colour for number in looked for colour in self._colours(number, looked[number])]
        if colours:
            features[people] = np.sqrt(np.mean(np.square(colours), axis=0))
        energy = gait_energy_image(torch.from_numpy(flow_clip(flow)).float()[None] / 255)
        if float(energy.mean()) > MIN_CONTENT:
            features[outline] = energy[0].double().numpy()
        if self.poses and (ratios := _bones(looked)) is not None:
            features[bones] = ratios
        small = np.stack(
            [
                cv2.resize(frame, SCENE_SIZE, interpolation=cv2.INTER_AREA)
                for frame in looked.values()
            ]
        )
        picture = coarse_mean_frame(_tensor(np.asarray(small, np.uint8)))[0].double().numpy()
        if float(picture.std()) > MIN_CONTENT:
            features[scene] = picture
        return features

    def _colours(self, number: int, frame: U8) -> list[NDArray[np.float64]]:
        rows, scores = self._person(frame, in_tiles=False, turned=False)
        people = to_boxes(rows, scores, "person")
        height, width = frame.shape[:2]
        for box in [Box(0, 0, width, height, score=0.0, label="scene"), *people]:
            if box.label not in self.shown or box.score > self.shown[box.label].score:
                self.shown[box.label] = Proof(
                    frame=number, score=box.score, says=box.label, picture=crop(frame, box)
                )
        crops = [frame[box_pixels(box)] for box in people]
        return [
            colour_histogram(_tensor(crop[None]))[0].double().numpy() for crop in crops if crop.size
        ]


def compare_videos(
    described: Mapping[Path, Described],
    shown: Mapping[Path, Mapping[str, Proof]] | None = None,
) -> Finding:
    """Find the pairs of videos that may show the same person or scene.

    `shown` is what the page shows of each video that is in such a pair, see `VideoDescriber`.
    """
    possible = list(combinations(described, 2))
    pairs = [(a, b) for a, b in possible if described[a].keys() & described[b].keys()]
    alike = {
        (a, b): [name for name in ABOUT if _are_alike(described[a], described[b], name)]
        for a, b in pairs
    }
    # what makes most pairs alike tells nobody apart, and is said of all
    common = [
        name
        for name in ABOUT
        if len(pairs) > 3 and 2 * sum(name in names for names in alike.values()) > len(pairs)
    ]
    alike = {pair: [n for n in names if n not in common] for pair, names in alike.items()}
    called = {path: escape(name) for path, name in unique_names(described).items()}
    texts = {
        (a, b): text
        for (a, b), names in alike.items()
        if (text := _told((called[a], called[b]), names))
    }
    sentences, proofs = list(texts.values()), []
    for pair in texts:
        for path in pair:
            pictures = (shown or {}).get(path, {})
            what = "person" if COLOURS in alike[pair] and "person" in pictures else "scene"
            if what in pictures:
                proofs.append(replace(pictures[what], says=f"{called[path]}, {what}"))
    listed = name_some(sentences, 12, separator="; ")
    says, start = "", f"Of {len(pairs)} pairs of videos"
    if naming := [name for name in common if name in (COLOURS, SCENE)]:
        what = "person or scene" if COLOURS in naming else "scene"
        says = f"{start} most are alike by {' and '.join(naming)}: they may show the same {what}. "
        start = "Beside this"
    if sentences:
        says += f"{start} {len(sentences)} are alike: {listed}. "
    level: Level = "left" if says else "nothing"
    if says:
        says += "This is likeness and no proof."
    elif pairs:
        says = f"{start} none is alike."
    else:
        says = "No pair of videos could be compared."
    if lost := len(possible) - len(pairs):
        more = f"{lost} more" if pairs else str(lost)
        says += f" Nothing of the same kind is seen in both videos of {more}."
    kinds = {name for features in described.values() for name in features}
    by = [f"{name} ({ABOUT[name]})" for name in ABOUT if name in kinds] or ["nothing they share"]
    return Finding(
        attack="across",
        level=level,
        says=says,
        work=f"{len(described)} videos, {2 * LOOKED} frames of each and {2 * CONSECUTIVE} in a "
        f"row; compared by {', '.join(by)}; "
        f"a person is named by {COLOURS}; nothing was trained",
        proofs=tuple(proofs[: 2 * (MOST_PROOFS // 2)]),
    )


def rank_sources(
    described: Mapping[Path, Described],
    raw: Mapping[Path, Described],
    sources: Mapping[Path, Path],
) -> Finding:
    """How often a published video's raw source is the most similar of all raw videos.

    Args:
        described: the published videos.
        raw: the raw video of each, as long as the published one, by the path of that one.
        sources: the raw video's own path, by the same; several published ones may have one.
    """
    counts: dict[str, tuple[int, int, float]] = {}  # ranked first, of how many, chance of as many
    for name in ABOUT:
        known = [path for path in described if name in described[path] and name in raw[path]]
        candidates: dict[Path, list[NDArray[np.float64]]] = {}
        for path in known:
            candidates.setdefault(sources[path], []).append(raw[path][name])
        if len(candidates) < 2:
            continue
        hits: dict[Path, list[bool]] = {source: [] for source in candidates}
        for path in known:
            apart = {
                source: min(distance(described[path][name], features) for features in alternatives)
                for source, alternatives in candidates.items()
            }
            own = apart.pop(sources[path])
            hits[sources[path]].append(own < min(apart.values()))  # a tie is not first
        first = sum(sum(row) for row in hits.values())
        counts[name] = first, len(known), _chance_of_hits(list(hits.values()))
    sure = [name for name, (*_, chance) in counts.items() if chance < MOST_CHANCE / len(ABOUT)]
    among = len({sources[path] for path in raw})
    listed = "; ".join(f"{name}: {k} of {n}" for name, (k, n, _) in counts.items())
    return Finding(
        attack="source",
        level="left" if sure else "nothing",
        says=(
            f"Published videos lead to their raw sources: among all raw videos their own is the "
            f"most similar ({listed}), which a guess finds in one of {among}."
            if sure
            else f"Raw sources are not surely told from the published videos ({listed}); a guess "
            f"finds one of {among}."
            if counts
            else "Nothing can be compared between published and raw videos."
        ),
        work=f"{len(described)} published videos, each among {among} raw ones; sure where a "
        f"guess finds as many in {MOST_CHANCE / len(ABOUT):.2%} of trials; nothing was trained",
    )


def _told(pair: tuple[str, str], names: Sequence[str]) -> str:
    a, b = pair
    if COLOURS in names:  # of which the place behind people is a part, so that it is always said
        return f"{a} and {b} may show the same person or scene, by {' and '.join(names)}"
    return f"{a} and {b} may show the same scene" if SCENE in names else ""


def _are_alike(a: Described, b: Described, name: str) -> bool:
    """Whether two videos are within a feature's distance: NEAR, or that of their own halves."""
    if name not in a or name not in b:
        return False
    apart = distance(a[name], b[name])
    if name == COLOURS:
        return apart <= NEAR
    own = [float(np.linalg.norm(features[name][0] - features[name][1])) for features in (a, b)]
    return apart <= MAX_RATIO.get(name, 1.0) * float(np.mean(own))


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The mean distance of the halves (2, D) of one to those of another."""
    return float(np.linalg.norm(a[:, None] - b[None], axis=2).mean())


def _chance_of_hits(hits: Sequence[Sequence[bool]]) -> float:
    """The probability that guessing finds as many raw sources as were found.

    `hits` says of each raw source whether its outputs led to it.

    Several outputs of one source are alike and no trials of their own. So the first of each are
    counted together, then the second, and the least likely of these counts is taken, made up for
    by their number.
    """
    rounds = [
        [row[i] for row in hits if i < len(row)] for i in range(max(len(row) for row in hits))
    ]
    return len(rounds) * min(
        _chance(sum(hits_of_round), len(hits_of_round), len(hits)) for hits_of_round in rounds
    )


def _chance(first: int, trials: int, count: int) -> float:
    """The probability of `first` or more right guesses in `trials`, each among `count`."""
    p = 1 / count
    return sum(
        math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(first, trials + 1)
    )


def _half(start: int, end: int) -> tuple[set[int], range]:
    """Of a half, frames spread over it and consecutive ones from its middle."""
    count = end - start
    spread = {start + int((i + 0.5) * count / LOOKED) for i in range(LOOKED)}
    length = min(CONSECUTIVE, count)
    first = start + (count - length) // 2
    return spread, range(first, first + length)


def _bones(looked: Mapping[int, U8]) -> NDArray[np.float64] | None:
    """Ratios of bones; None: nobody is seen in enough frames."""
    people = dict(zip(range(len(looked)), find_people(looked.values()), strict=True))
    if sum(1 for seen in people.values() if seen) <= LEAST_SEEN * len(people):
        return None
    height, width = next(iter(looked.values())).shape[:2]
    sequence = pose_sequence(people, np.arange(len(people)), size=(width, height))
    return bone_ratios(torch.from_numpy(sequence)[None])[0].double().numpy()


def _tensor(frames: NDArray[np.uint8]) -> torch.Tensor:
    """(1, 3, T, H, W) in [0, 1] of (T, H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None].float() / 255
