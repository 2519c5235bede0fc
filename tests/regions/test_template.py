"""Templates and the library that stores them."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from frames import noise
from safetensors.numpy import save

from masquerade.errors import MissingError, UsageError
from masquerade.regions import template_library
from masquerade.regions.hog_keys import ColourHog
from masquerade.regions.template import CONCEPTS, SUBSETS, Template, make_template
from masquerade.regions.template_library import Library, library_folder
from masquerade.storage import file_digest, publish

KEYS = ColourHog()


def made(name: str = "eye", seed: int = 0, keys: ColourHog = KEYS) -> Template:
    pixels = noise(90, 70, seed)
    return make_template(name, pixels, [(20, 30), (60.5, 40)], keys, image="/home/me/me.jpg")


def same(a: Template, b: Template) -> bool:
    return (a.name, a.extractor, a.picks) == (b.name, b.extractor, b.picks) and np.array_equal(
        a.keys, b.keys
    )


def test_concepts_and_subsets_of_the_paper() -> None:
    assert len(CONCEPTS) == 9
    assert all(card and "\n" not in card for card in CONCEPTS.values())
    assert set(SUBSETS) == {"kth", "sbu", "ipn"}
    assert all(set(names) <= set(CONCEPTS) for names in SUBSETS.values())
    assert set(SUBSETS["kth"]) == {"torso", "arm", "leg", "hair"}


def test_template_is_the_key_at_the_nearest_centre() -> None:
    template = made()
    grid = KEYS(noise(90, 70, 0))
    assert np.array_equal(template.keys[0], grid.keys[grid.nearest(20, 30)])
    assert template.keys.shape == (2, grid.keys.shape[2]) == (2, ColourHog.key_width)
    assert [(p.x, p.y) for p in template.picks] == [(20, 30), (60.5, 40)]
    assert {p.image for p in template.picks} == {"me.jpg"}
    assert all(0 <= p.level.ground < p.level.core <= 1.001 for p in template.picks)


def test_invalid_points_and_names_are_refused() -> None:
    pixels = noise(90, 70)
    for at in ((90, 10), (10, -1), (5, 70)):
        with pytest.raises(UsageError, match=r"lies outside me\.jpg, which has 90x70 pixels"):
            make_template("eye", pixels, [at], KEYS, image="me.jpg")
    with pytest.raises(UsageError, match="needs a point"):
        make_template("eye", pixels, [], KEYS, image="me.jpg")
    for name in ("", "Eye", "../eye", "a b", ".eye", "x" * 65):
        with pytest.raises(UsageError, match="cannot name a template"):
            make_template(name, pixels, [(1, 1)], KEYS, image="me.jpg")
        with pytest.raises(UsageError, match="cannot name a template"):
            Library(folder=Path("nowhere")).load(name)


def test_add_merge_and_remove(tmp_path: Path) -> None:
    library = Library(folder=tmp_path / "kept")
    assert library.names() == []
    library.add(made())
    assert same(library.load("eye"), made())
    library.add(made("hair", 3))
    assert library.names() == ["eye", "hair"]
    more = library.add(made(seed=5))
    assert same(library.load("eye"), more) and len(more.picks) == len(more.keys) == 4
    assert np.array_equal(more.keys[2:], made(seed=5).keys)
    files = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert files == [".lock", "eye.json", "eye.safetensors", "hair.json", "hair.safetensors"]
    library.remove("hair")
    assert library.names() == ["eye"]
    with pytest.raises(MissingError, match="no template hair; there are: eye"):
        library.remove("hair")


def test_folder_names_are_not_stored(tmp_path: Path) -> None:
    Library(folder=tmp_path).add(made())
    for file in tmp_path.iterdir():
        assert b"home" not in file.read_bytes()


def test_missing_concept_is_described(tmp_path: Path) -> None:
    looked_for = rf".* for in {re.escape(str(tmp_path))}; MASQUERADE_TEMPLATES"
    said = rf"no template eye: an eye with .* templates add eye{looked_for}"
    with pytest.raises(MissingError, match=said):
        Library(folder=tmp_path).load("eye")


def test_keys_of_another_extractor_are_refused(tmp_path: Path) -> None:
    library = Library(folder=tmp_path)
    library.add(made())
    with pytest.raises(UsageError, match="made with keys colour-hog") as error:
        library.add(made(keys=ColourHog(stride=8)))
    assert str(error.value).count(". ") == 0
    assert same(library.load("eye"), made())


def test_export_and_import(tmp_path: Path) -> None:
    one, other = Library(folder=tmp_path / "one"), Library(folder=tmp_path / "other")
    one.add(made())
    one.add(made("hair", 3))
    one.export(tmp_path / "all.safetensors")
    one.export(tmp_path / "hair.safetensors", ["hair"])
    assert other.import_(tmp_path / "hair.safetensors") == ["hair"]
    assert other.names() == ["hair"]
    assert sorted(other.import_(tmp_path / "all.safetensors")) == ["eye", "hair"]
    nameless = tuple(replace(pick, image="") for pick in made().picks)
    assert made().picks[0].image and same(other.load("eye"), replace(made(), picks=nameless))
    assert one.import_(tmp_path / "all.safetensors") and same(one.load("eye"), made())
    third = Library(folder=tmp_path / "third")
    third.add(made("hair", keys=ColourHog(stride=8)))
    with pytest.raises(UsageError, match="made with keys"):
        third.import_(tmp_path / "all.safetensors")
    assert third.names() == ["hair"]  # all of a file or nothing
    with pytest.raises(UsageError, match="no templates"):
        Library(folder=tmp_path / "none").export(tmp_path / "x.safetensors")


def exported(file: Path, *templates: Template) -> Path:
    """A file of templates with what `export` does not write."""
    cards = json.dumps([template_library._card(one) for one in templates])
    keys = {one.name: one.keys for one in templates}
    file.write_bytes(save(keys, {"masquerade templates": cards}))
    return file


@pytest.mark.parametrize("stored", [False, True])
def test_keys_of_a_width_that_their_extractor_does_not_make_are_refused(
    stored: bool, tmp_path: Path
) -> None:
    """They were added, and every later use was a traceback."""
    library = Library(folder=tmp_path / "kept")
    if stored:
        library.add(made())
    narrow = replace(made(seed=5), keys=made(seed=5).keys[:, :5])
    file = exported(tmp_path / "x.safetensors", made("hair", 3), narrow)
    with pytest.raises(UsageError, match="its keys have 5 numbers, and not 265"):
        library.import_(file)
    with pytest.raises(UsageError, match="keys of 5 numbers"):
        made().merge(narrow)
    assert library.names() == ["eye"] * stored
    assert not stored or same(library.load("eye"), made())


def test_two_templates_of_one_name_in_a_file_are_merged_or_both_refused(tmp_path: Path) -> None:
    """The first was kept where the second was refused."""
    library, file = Library(folder=tmp_path / "kept"), tmp_path / "x.safetensors"
    other = replace(made(), extractor=ColourHog(stride=8).fingerprint)
    with pytest.raises(UsageError, match="template eye was made with keys"):
        library.import_(exported(file, made("hair", 3), made(), other))
    assert library.names() == []
    assert library.import_(exported(file, made(), made())) == ["eye"]
    assert same(library.load("eye"), made())


def test_a_file_of_templates_is_added_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(folder=tmp_path / "kept")
    file = exported(tmp_path / "x.safetensors", made(), made("hair", 3))
    digests = iter([file_digest])

    def full(path: Path) -> str:
        if (digest := next(digests, None)) is None:
            raise OSError("no space left on device")
        return digest(path)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(template_library, "file_digest", full)
        library.import_(file)
    assert library.names() == []


def test_what_is_imported_or_pointed_at_again_is_there_once(tmp_path: Path) -> None:
    library = Library(folder=tmp_path / "kept")
    library.add(made())
    library.export(tmp_path / "all.safetensors")
    library.import_(tmp_path / "all.safetensors")
    library.add(made())
    assert same(library.load("eye"), made())


def test_a_lock_that_is_a_link_leaves_the_file_behind_it_alone(tmp_path: Path) -> None:
    """As in a library that somebody else packed."""
    library, mine = Library(folder=tmp_path / "kept"), tmp_path / "mine.txt"
    library.folder.mkdir()
    mine.write_text("mine")
    (library.folder / ".lock").symlink_to(mine)
    (library.folder / "eye.json").symlink_to(mine)
    (library.folder / "eye.safetensors").symlink_to(mine)
    library.add(made("hair"))
    with pytest.raises(UsageError, match="template eye is damaged"):
        library.add(made())
    assert mine.read_text() == "mine" and same(library.load("hair"), made("hair"))


def test_a_template_that_is_replaced_while_it_is_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its card was the older one's and its keys the newer one's; it was advised to remove it."""
    library = Library(folder=tmp_path)
    library.add(made())
    added = []

    def digest_after_another_process_added(path: Path) -> str:
        if not added:
            added.append(Library(folder=tmp_path))
            added[0].add(made(seed=5))
        return file_digest(path)

    monkeypatch.setattr(template_library, "file_digest", digest_after_another_process_added)
    assert same(library.load("eye"), made().merge(made(seed=5)))


def test_a_template_that_is_removed_while_it_is_read_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(folder=tmp_path)
    library.add(made())

    def digest_after_another_process_removed(path: Path) -> str:
        library.remove("eye")
        return file_digest(path)

    monkeypatch.setattr(template_library, "file_digest", digest_after_another_process_removed)
    with pytest.raises(MissingError, match="there is no template eye"):
        library.load("eye")


@pytest.mark.slow
def test_points_that_two_processes_add_at_once_are_both_kept(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom test_template import *\n"
        f"library, first = Library(folder=Path({str(tmp_path)!r})), int(sys.argv[1])\n"
        "for seed in range(first, first + 6): library.add(made(seed=seed))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", code]
    both = [subprocess.Popen([*words, first], env=environment) for first in ("10", "20")]
    assert [one.wait() for one in both] == [0, 0]
    assert len(Library(folder=tmp_path).load("eye").picks) == 24


def test_an_interruption_between_the_two_files_of_a_template_keeps_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(folder=tmp_path)
    library.add(made())
    given = []

    def interrupted(part: Path, destination: Path, *, overwrite: bool) -> None:
        if given:
            raise KeyboardInterrupt
        given.append(destination)
        publish(part, destination, overwrite=overwrite)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("masquerade.transaction.publish", interrupted)
        library.add(made(seed=5))
    assert len(given) == 1 and same(library.load("eye"), made())
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == ["eye.json", "eye.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not it", b"\x10" + bytes(40)])
def test_import_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match="no file of templates"):
        Library(folder=tmp_path / "kept").import_(tmp_path / "x.safetensors")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    library = Library(folder=tmp_path)
    library.add(made())
    library.add(made("hair", 3))
    (tmp_path / "eye.safetensors").write_bytes((tmp_path / "hair.safetensors").read_bytes())
    with pytest.raises(UsageError, match="do not belong together"):
        library.load("eye")
    card = json.loads((tmp_path / "hair.json").read_text())
    (tmp_path / "hair.json").write_text(json.dumps({**card, "picks": card["picks"][:1]}))
    with pytest.raises(UsageError, match="do not fit its picks"):
        library.load("hair")
    for text in ("{", "[" * 10**6):  # the second nests too deep to be read
        (tmp_path / "hair.json").write_text(text)
        with pytest.raises(UsageError, match="template hair is damaged"):
            library.load("hair")


@pytest.mark.parametrize(
    "level",
    [
        {"core": 1e308, "ground": -1e308},
        {"core": 0.9, "ground": 1e30},
        {"core": math.nan, "ground": 0.1},
        {"core": 10**400, "ground": 0.1},
        {"core": "0.9", "ground": 0.1},
    ],
)
def test_levels_that_no_picture_gives_are_damage(tmp_path: Path, level: dict[str, object]) -> None:
    """Arithmetic with them gives 0, so that nothing would be hidden."""
    library = Library(folder=tmp_path)
    library.add(made())
    card = json.loads((tmp_path / "eye.json").read_text())
    picks = [{**pick, "level": level} for pick in card["picks"]]
    (tmp_path / "eye.json").write_text(json.dumps({**card, "picks": picks}))
    with pytest.raises(UsageError, match=r"template eye is damaged \(its levels are not"):
        library.load("eye")


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": ["me.jpg"]},
        {"image": 7},
        {"x": "left"},
        {"x": None},
        {"y": math.nan},
        {"y": 10**400},
        {"x": -1},
        {"frame": "first"},
        {"frame": 0.5},
        {"frame": True},
    ],
)
def test_picks_that_are_no_places_are_damage(tmp_path: Path, wrong: dict[str, object]) -> None:
    """Refused when they come, as listing or adding to them fails afterwards."""
    library = Library(folder=tmp_path / "kept")
    library.add(made())
    card = json.loads((library.folder / "eye.json").read_text())
    card["picks"] = [{**pick, **wrong} for pick in card["picks"]]
    (library.folder / "eye.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match=r"template eye is damaged \(its picks are not places"):
        library.load("eye")
    metadata = {"masquerade templates": json.dumps([card])}
    (tmp_path / "x.safetensors").write_bytes(save({"eye": made().keys}, metadata))
    with pytest.raises(UsageError, match="no file of templates"):
        Library(folder=tmp_path / "other").import_(tmp_path / "x.safetensors")


@pytest.mark.parametrize("length", [0, 1e-30, 1e30])
def test_keys_whose_cosine_is_0_with_all_others_are_damage(tmp_path: Path, length: float) -> None:
    library = Library(folder=tmp_path)
    library.add(replace(made(), keys=made().keys * np.float32(length)))
    with pytest.raises(UsageError, match=r"template eye is damaged \(its keys are not of a length"):
        library.load("eye")


def test_default_folder_and_environment_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASQUERADE_TEMPLATES", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert library_folder() == tmp_path / "masquerade" / "templates"
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "mine"))
    assert Library().folder == tmp_path / "mine"
