"""A folder for --data with every dataset of the papers' tables, drawn small, as it is published.

Two actions, people who differ in the colour of the scene, eight frames of 32 pixels.
"""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.cli import main

FRAMES, SIDE = 8, 32
STEPS = {"wave": (0, 2), "clap": (2, 0)}
PEOPLE = range(8)
TESTED = 5  # and those after
MANY = range(20)  # where a tenth of the training part is held out of training
MANY_TESTED = 15  # and those after
VISPR = ("a17_color", "a4_gender", "a9_face_complete", "a10_face_partial", "a12_semi_nudity")
VISPR += ("a64_rel_personal", "a65_rel_social", "a6_hair_color", "a16_race", "a59_sports")
VISPR += ("a1_age_approx", "a2_weight_approx", "a73_landmark", "a11_tattoo")


def frames(action: str, person: int, seed: int) -> NDArray[np.uint8]:
    """(T, H, W, 3): a bright square that moves through a scene of the person's colour."""
    rng = np.random.default_rng(seed)
    tone = np.random.default_rng(person).integers(20, 200, 3)
    out = (rng.integers(0, 12, (FRAMES, SIDE, SIDE, 3)) + tone).astype(np.uint8)
    x, y = rng.integers(2, 8, 2)
    for t in range(FRAMES):
        left, top = x + t * STEPS[action][0], y + t * STEPS[action][1]
        out[t, top : top + 8, left : left + 8] = 250
    return out


def video(path: Path, action: str, person: int, take: int = 0) -> None:
    """A lossless video, under whatever name its dataset has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.height = stream.width = SIDE
        stream.pix_fmt = "bgr0"
        for number, picture in enumerate(frames(action, person, 97 * person + 7 * take)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def pictures(folder: Path, name: str, action: str, person: int, take: int = 0) -> None:
    """A video as a folder of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(frames(action, person, 97 * person + 7 * take), 1):
        cv2.imwrite(str(folder / f"{name}_{number:06d}.png"), picture[..., ::-1])


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def five(person: int) -> NDArray[np.int64]:
    return np.array(
        [[person % 2, person // 2 % 2, 1 - person % 2, person % 3 % 2, person // 4 % 2]]
    )


def hmdb51(folder: Path) -> None:
    """Videos, lists, STPrivacy's labels, and PA-HMDB51's of the tested people."""
    flags: dict[str, Any] = {}
    for action in STEPS:
        lines, ranges = [], {}
        for person in MANY:
            name = f"film{person:02d}_{action}_f_cm_np1_fr_med_0.avi"
            video(folder / "hmdb51" / action / name, action, person)
            lines.append(f"{name} {2 if person >= MANY_TESTED else 1} ")
            flags[f"{action}/{name}"] = five(person)
            one = {
                "skin_color": [[0, 7, person % 2]],
                "face": [[0, 3, person % 2], [4, 7, 1 - person % 2]],
                "gender": [[0, 7, [person % 2, 0]]],
                "nudity": [[0, 7, person // 2 % 2]],
                "relationship": [[0, 7, person % 3 % 2]],
            }
            ranges |= {name: one} if person != 3 else {}
        put(folder / "testTrainMulti_7030_splits" / f"{action}_test_split1.txt", "\n".join(lines))
        # some films are not among PA-HMDB51's, and attackers learn from those
        kept = {name: one for name, one in ranges.items() if name[4:6] not in ("00", "01", "02")}
        put(folder / "PA-HMDB51" / "PrivacyAttributes" / f"{action}.json", json.dumps(kept))
    (folder / "hmdb51_privacy_attribute_label.pickle").write_bytes(pickle.dumps(flags))


def ucf101(folder: Path) -> None:
    """Videos, lists and STPrivacy's labels."""
    flags: dict[str, Any] = {}
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for number, action in enumerate(STEPS, 1):
        for person in MANY:
            name = f"{action.title()}/v_{action.title()}_g{person + 1:02d}_c01.avi"
            video(folder / "UCF-101" / name, action, person, take=1)
            flags[name] = five(person)
            part = "test" if person >= MANY_TESTED else "train"
            lists[part].append(f"{name} {number}" if part == "train" else name)
    for part, lines in lists.items():
        put(folder / "ucfTrainTestlist" / f"{part}list01.txt", "\n".join(lines))
    (folder / "ucf101_privacy_attribute_label.pickle").write_bytes(pickle.dumps(flags))


def celebv_hq(folder: Path) -> None:
    """Clips, and one JSON of all."""
    names = ["Male", "Young", "Pointy_Nose", "Rosy_Cheeks", "Brown_Hair"]
    clips = {}
    for number, action in enumerate(STEPS):
        for person in PEOPLE:
            name = f"id{person}_{number}"
            video(folder / "celebv-hq" / "clips" / f"{name}.mp4", action, person)
            emotion = {"sep_flag": False, "labels": ["happy", "neutral"][number]}
            flags = {"appearance": five(person)[0].tolist(), "emotion": emotion}
            clips[name] = {"ytb_id": f"yt{person}", "attributes": flags}
    info = {"meta_info": {"appearance_mapping": names}, "clips": clips}
    put(folder / "celebv-hq" / "celebvhq_info.json", json.dumps(info))


def hvu(folder: Path) -> None:
    """Clips as the downloader names them, and three CSVs."""
    rows: dict[str, list[Any]] = {"Train": [], "Val": []}
    for number, action in enumerate(STEPS):
        for person in PEOPLE:
            name = f"id{person}_{number:06d}_{number + 8:06d}.mp4"
            video(folder / "HVU" / "clips" / name, action, person)
            tags = ["moving", action, "square", "red" if person % 2 else "blue"]
            tags.append("indoors" if person // 2 % 2 else "outdoors")
            part = "Val" if person >= TESTED else "Train"
            rows[part].append(("|".join(tags), f"id{person}", number, number + 8))
    kinds = {"moving": "Action", **dict.fromkeys(STEPS, "Action")}
    kinds |= {"square": "Object", "red": "Object", "blue": "Object"}
    kinds |= {"indoors": "Scene", "outdoors": "Scene"}
    head = ("Tags", "youtube_id", "time_start", "time_end")
    for part, lines in rows.items():
        with (folder / "HVU" / f"HVU_{part}_V1.0.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head, *lines])
    with (folder / "HVU" / "HVU_Tags_Categories_V1.0.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("Tag", "Category"), *kinds.items()])


def vispr(folder: Path) -> None:
    """Lists, one JSON a picture, and pictures."""
    for part, numbers in {"train": range(24), "val": range(24, 36), "test": range(36, 48)}.items():
        for number in numbers:
            place = folder / "VISPR" / "images" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            picture = frames("wave", number % 8, seed=600 + number)[number % FRAMES]
            cv2.imwrite(str(place), picture[..., ::-1])
            labels = [name for at, name in enumerate(VISPR) if (number >> (at % 3)) % 2]
            about = {"image_path": f"images/{number}.png", "labels": labels}
            put(folder / "VISPR" / "annotations" / f"{number}.json", json.dumps(about))
        listed = "\n".join(f"annotations/{number}.json" for number in numbers)
        put(folder / "VISPR" / f"{part}2017.txt", listed)


def ipn(folder: Path) -> None:
    """Folders of pictures, two gestures each, lists, classes, and who is shown."""
    root = folder / "IPN"
    lines: dict[str, list[str]] = {"train": [], "val": []}
    people = [("Video Name", "Sex")]
    for person in MANY:
        for take, action in enumerate(STEPS):
            name = f"{person}CM1_{take + 1}_R_#{person}{take}"
            pictures(root / "frames" / name, name, action, person, take)
            part = "val" if person >= MANY_TESTED else "train"
            lines[part].append(f"./frames/{name} {take + 2} 1 {FRAMES}")
            people.append((name, "W" if person % 2 else "M"))
    for part, each in lines.items():
        put(root / f"{part}listall.txt", "\n".join(each))
    put(root / "classIndAll.txt", "1 D0X\n2 G01\n3 G02\n")
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(people)


def kth(folder: Path) -> None:
    """Videos of four takes of each person and action, and the list with one of them to test."""
    lines = ["video,action,person,background,frames,set"]
    for at, person in enumerate((11, 12, 13, 14, 19, 20, 2, 3)):
        for named, action in {"boxing": "wave", "walking": "clap"}.items():
            for take in range(1, 5):
                name = f"person{person:02d}_{named}_d{take}_uncomp.avi"
                video(folder / "KTH" / named / name, action, at, take)
                part = "test" if take == 1 + at % 4 else "train"
                about = f"{named},person{person:02d},d{take},{FRAMES},{part}"
                lines.append(f"{name.removesuffix('.avi')},{about}")
    put(folder / "KTH" / "metadata.csv", "\n".join(lines))


def sbu(folder: Path) -> None:
    """Folders of pictures by pair and interaction, and lists: the second takes of some to test."""
    pairs = ("s01s02", "s02s01", "s03s04", "s04s03", "s02s03", "s03s02", "s01s03", "s03s06")
    lists = {part: ["name,t_start,t_end,person,action"] for part in ("train", "test")}
    for person, pair in enumerate(pairs):
        for number, action in enumerate(STEPS, 1):
            for take in (1, 2):
                name = f"{pair}/{number:02d}/{take:03d}"
                pictures(folder / "SBU" / name, "rgb", action, person, take)
                part = "test" if take == 2 and (person + number) % 2 else "train"
                lists[part].append(f"{name},1,4,{person},{number - 1}")
    for part, rows in lists.items():
        (folder / "SBU" / f"{part}.txt").write_text("\n".join(rows))


def ut_interaction(folder: Path, *, pairs: int = 6) -> None:
    """Videos of pairs, named as its cut clips are, and the manifest that is made of them."""
    for pair in range(1, pairs + 1):
        for number, action in enumerate(STEPS):
            video(folder / "UTI" / f"{pair}_{pair}_{5 * number}.avi", action, pair)
    convert("ut-interaction", folder / "UTI", "-o", folder / "uti.csv")


def ucf11(folder: Path) -> None:
    """Videos in folders of their groups, and the manifest that is made of them, with a split."""
    for group in PEOPLE:
        for action in STEPS:
            for take in (1, 2):
                place = folder / "UCF11" / action / f"v_{action}_{group + 1:02d}"
                video(place / f"{place.name}_{take:02d}.mpg", action, group, take)
    convert("ucf11", folder / "UCF11", "--test-share", "0.4", "-o", folder / "ucf11.csv")


def convert(*words: str | Path) -> None:
    assert main(["data", "convert", *map(str, words)]) == 0


MAKERS: dict[str, Callable[[Path], None]] = {
    "VP-HMDB51": hmdb51,
    "PA-HMDB51": hmdb51,
    "HMDB51": hmdb51,
    "VP-UCF101": ucf101,
    "UCF101": ucf101,
    "VISPR1": vispr,
    "VISPR2": vispr,
    "P-HVU": hvu,
    "CelebV-HQ": celebv_hq,
    "IPN": ipn,
    "KTH": kth,
    "SBU": sbu,
}
"""By the names of the papers' datasets."""
