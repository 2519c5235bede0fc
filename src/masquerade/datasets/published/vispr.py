"""Read VISPR's labels (Orekondy et al., ICCV 2017): up to 68 privacy attributes of images.

`train2017.txt`, `val2017.txt` and `test2017.txt` list one JSON an image, relative to the folder;
each has `image_path` and `labels`. SPAct (CVPR 2022, 4.2 and 4.3) uses two sets of seven.
"""

from pathlib import Path
from typing import Literal

from masquerade.datasets.manifest import Clip, Kind, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_json, read_lines
from masquerade.errors import UsageError

SETS = {
    "vispr1": (
        "a17_color",
        "a4_gender",
        "a9_face_complete",
        "a10_face_partial",
        "a12_semi_nudity",
        "a64_rel_personal",
        "a65_rel_social",
    ),
    # As recalled from SPAct's supplementary; its main paper names only the tattoo.
    "vispr2": (
        "a6_hair_color",
        "a16_race",
        "a59_sports",
        "a1_age_approx",
        "a2_weight_approx",
        "a73_landmark",
        "a11_tattoo",
    ),
}


def read_vispr(
    folder: Path, *, attributes: Literal["vispr1", "vispr2"] = "vispr1", videos: Path | None = None
) -> Manifest:
    """Read VISPR's images with one set of binary attributes."""
    clips = []
    for part in ("train", "val", "test"):
        listed = folder / f"{part}2017.txt"
        if not listed.exists():
            continue
        for number, line in read_lines(listed):
            image = read_json(folder / line)
            about = image if isinstance(image, dict) else {}
            name, labels = about.get("image_path"), about.get("labels")
            if not isinstance(name, str) or not isinstance(labels, list):
                raise UsageError(
                    f"{listed}, line {number}: {line} has no image_path and labels; "
                    "is it an annotation of VISPR?"
                )
            cells = {attribute: str(int(attribute in labels)) for attribute in SETS[attributes]}
            clips.append(Clip(path=name, cells={**cells, "split": part}))
    missing = f"{folder} holds none of train2017.txt, val2017.txt, test2017.txt."
    kinds: dict[str, Kind] = dict.fromkeys(SETS[attributes], "binary")
    return make_manifest(videos or folder, clips, error_if_empty=missing, kinds=kinds)
