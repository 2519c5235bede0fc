"""What a person may decide about a video, each as edits made of edits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from masquerade.errors import UsageError
from masquerade.methods import build
from masquerade.pipeline.config import (
    PipelineConfig,
    edited_config,
    region_arguments,
    source_names,
)
from masquerade.pipeline.edits import Edits
from masquerade.pipeline.levels import LEVELS, level_of
from masquerade.pipeline.track_methods import check_track_methods
from masquerade.regions.drawn import DRAWN_TRACKS, DrawnRegion
from masquerade.regions.parts import check_parts
from masquerade.regions.pose_tracking import FIRST_BOX
from masquerade.regions.template_library import Library

SHOWN = ("regions", "threshold", "outside", "mask_scale", "feather", "audio")
"""The settings of the page, besides level, method and its arguments."""
DEFAULTS = PipelineConfig()
CHOICES = {"hidden": "hide", "visible": "leave visible", "only": "hide only"}


def choose(edits: Edits, track: int, choice: str | None, everybody: Collection[int] = ()) -> Edits:
    """Hide somebody, leave them visible, or hide only them.

    Once everybody is among those who alone are hidden, whoever is found besides is hidden too.
    """
    same = set(edits.tracks_of_person(track))
    visible, only = (
        tuple(k for k in tracks if k not in same) for tracks in (edits.visible, edits.only)
    )
    if choice == "only" or (choice == "hidden" and edits.only):
        named = {*only, track}
        hidden = {k for person in named for k in edits.tracks_of_person(person)}
        hides_all = choice == "hidden" and hidden.issuperset(everybody)
        return replace(edits, visible=(), only=() if hides_all else tuple(sorted(named)))
    if choice == "visible" and edits.only:
        if not only:
            raise UsageError("then nobody would be hidden; hide all again first.")
        return replace(edits, only=only)
    if choice == "visible":
        return replace(edits, visible=tuple(sorted({*visible, track})))
    return replace(edits, visible=visible) if choice == "hidden" else edits


def hide_all(edits: Edits) -> Edits:
    """Leave nobody visible."""
    return replace(edits, visible=(), only=())


def hide_by(edits: Edits, track: int, method: str | None) -> Edits:
    """Hide somebody by another method; None: by that of all."""
    same = edits.tracks_of_person(track)
    methods = {k: name for k, name in edits.methods.items() if k not in same}
    return replace(edits, methods={**methods, **({track: method} if method else {})})


def join(edits: Edits, tracks: tuple[int, ...]) -> Edits:
    """Say that tracks are one person; who is hidden as one of them is hidden as all."""
    together = {k for track in tracks for k in edits.tracks_of_person(track)}
    if len(together) < 2:
        raise UsageError("name two different people to be joined.")
    groups = tuple(group for group in edits.joined if not together & set(group))
    visible = {k for track in edits.visible for k in edits.tracks_of_person(track)}
    only = edits.only
    if only and together & {k for track in only for k in edits.tracks_of_person(track)}:
        only = tuple(sorted({*only, *together}))
    joined = replace(edits, joined=(*groups, tuple(sorted(together))), only=only)
    if together <= visible:
        return joined
    return replace(joined, visible=tuple(k for k in edits.visible if k not in together))


def split(edits: Edits, track: int) -> Edits:
    """Take back that tracks are one person; whoever was hidden as one stays hidden."""
    same = set(edits.tracks_of_person(track))
    only = (*edits.only, *same) if same & set(edits.only) else edits.only
    left = tuple(group for group in edits.joined if track not in group)
    return replace(edits, joined=left, only=tuple(sorted(set(only))))


def replace_drawn(edits: Edits, track: int, new: DrawnRegion | None) -> Edits:
    """Put another region in the place of a drawn one; None: remove it."""
    drawn = [new if region.track == track else region for region in edits.drawn]
    methods = {k: m for k, m in edits.methods.items() if new is not None or k != track}
    return replace(edits, drawn=tuple(o for o in drawn if o is not None), methods=methods)


def corrected(old: DrawnRegion, new: DrawnRegion) -> DrawnRegion:
    """A drawn region that takes the boxes of a new one in the frames nearest to the new drawing."""
    (frame,) = new.keys
    before = max((k for k in old.keys if k < frame), default=None)
    after = min((k for k in old.keys if k > frame), default=None)

    def nearer(t: int) -> bool:
        late = before is None or t > (before + frame) // 2
        return late and (after is None or t < (after + frame) // 2)

    boxes = {t: box for t, box in old.boxes.items() if not nearer(t) or t not in new.boxes}
    boxes |= {t: box for t, box in new.boxes.items() if nearer(t) or t not in boxes}
    return DrawnRegion(old.track, boxes, tuple(sorted({*old.keys, frame})))


def check(edits: Edits) -> None:
    """Refuse edits that no run would do.

    Raises:
        UsageError: settings contradict each other, the method, or who is chosen.
    """
    anonymizer = edits.anonymizer()
    if edits.methods:
        check_track_methods(anonymizer, (method.anonymizer for method in edits.track_methods(None)))
    config = edited_config(edits)
    if unknown := sorted(set(edits.settings) - {"level", "keys", *SHOWN}):
        raise UsageError(f"the page has no setting {unknown[0]!r}; use the command for it.")
    if "boxes" in source_names(config):
        raise UsageError("on the page regions are drawn, and no file of boxes is read.")
    region_arguments(config, anonymizer)


def check_named(edits: Edits, before: Edits) -> None:
    """Refuse changed regions that name no templates or parts, or unknown ones.

    A template that was hidden before may have been removed since, and is not in the way.

    Raises:
        UsageError: they do.
    """
    if edits.settings.get("regions") == before.settings.get("regions"):
        return
    for name, arguments in region_arguments(edited_config(edits), edits.anonymizer()):
        if name == "parts":
            check_parts(arguments["parts"])
        if name == "templates" and not arguments["templates"]:
            raise UsageError("templates need a name: point at a part, or turn one on in the list.")
    names = set(template_names(edits)) - set(template_names(before))
    if unknown := sorted(names - set(Library().names())):
        raise UsageError(f"there is no template {unknown[0]!r}; point at it in the picture first.")


def settled(edits: Edits, changed: Mapping[str, Any]) -> Edits:
    """Edits with changed settings; a level sets method and regions, and these clear a level.

    Who was chosen is forgotten where people get other numbers by it, or nobody can be chosen.
    """
    after = _with_settings(edits, changed)
    if after.anonymizer().shows_nobody:
        after = replace(after, visible=(), only=(), methods={})
    return without_choices(after) if _tracks_key(after) != _tracks_key(edits) else after


def without_choices(edits: Edits) -> Edits:
    """Edits in which nobody is chosen by number; what was drawn stays."""
    drawn = {track: name for track, name in edits.methods.items() if track >= DRAWN_TRACKS}
    return replace(edits, visible=(), only=(), joined=(), methods=drawn, numbered_by=None)


def _with_settings(edits: Edits, changed: Mapping[str, Any]) -> Edits:
    settings, changes = dict(edits.settings), dict(changed)
    level = changes.pop("level", None)
    if level is not None:
        settings = {k: v for k, v in settings.items() if k == "audio"}
        edits = replace(edits, settings={**settings, "level": level}, arguments={})
        return _with_settings(replace(edits, method=level_of(level).method), changes)
    named = settings.get("level")
    if named is not None and ({"method", "regions"} & set(changes)):
        settings.pop("level")
        settings["regions"] = LEVELS[named].regions
        edits = replace(edits, method=LEVELS[named].method)
    method = changes.pop("method", None)
    if method is not None and method != edits.method:
        built = build(method)
        edits = replace(edits, method=method, arguments={})
        if built.full_frame or built.needs_people or built.learned:
            settings.pop("regions", None)
    arguments = changes.pop("arguments", None)
    if arguments is not None:
        edits = replace(edits, arguments=dict(arguments))
    if unknown := sorted(set(changes) - set(SHOWN)):
        raise UsageError(f"there is no setting {unknown[0]!r}.")
    for name, value in changes.items():
        settings = {**settings, name: value}
        if value is None or value == getattr(DEFAULTS, name):
            settings.pop(name)
    if "templates" not in str(settings.get("regions")):
        settings.pop("keys", None)
    return replace(edits, settings=settings)


def _tracks_key(edits: Edits) -> str:
    """Equal for settings under which people have the same numbers."""
    plain = replace(edits, visible=(), only=())
    config = edited_config(plain)
    return str(region_arguments(config)[0])


def template_names(edits: Edits) -> list[str]:
    """The templates that are hidden."""
    regions, _, named = str(edits.settings.get("regions") or "").partition(":")
    names = named.split(",") if regions.split("+")[-1] == "templates" else []
    return [name for name in names if name]


def with_keys(edits: Edits, kind: str | None) -> Edits:
    """Edits whose templates are compared by a kind of keys; None: by the default one."""
    settings = {key: value for key, value in edits.settings.items() if key != "keys"}
    return replace(edits, settings={**settings, **({"keys": kind} if kind else {})})


def with_templates(edits: Edits, names: list[str], *, plain: bool = True) -> Edits:
    """Edits with other templates beside the other regions; `plain` False: in their place."""
    sources = source_names(edited_config(edits)) if plain else []
    others = [source for source in sources if source != "templates"]
    if not set(others) <= {"faces", "people", "hands", "text"}:
        raise UsageError("templates stand beside faces, people, hands or text.")
    regions = "+".join([*others, *(["templates"] if names else [])])
    settings = {k: v for k, v in edits.settings.items() if k not in ("level", "keys")}
    settings["regions"] = regions + (f":{','.join(names)}" if names else "")
    level = edits.settings.get("level")
    method = edits.method if level is None else level_of(level).method
    return replace(edits, settings=settings, method=method)


def name_of(track: int) -> str:
    if track >= DRAWN_TRACKS:
        return f"region {track - DRAWN_TRACKS + 1}"
    return f"person X{track - FIRST_BOX}" if track >= FIRST_BOX else f"person {track}"
