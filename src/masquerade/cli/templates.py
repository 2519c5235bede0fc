"""`masquerade templates`: mark a part of a picture once, and hide it by name afterwards.

What imports torch is imported where it is used: the help does not wait for it.
"""

import json as jsons
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import arg

from masquerade.cli.arguments import run_command
from masquerade.errors import UsageError
from masquerade.output_paths import refuse_replacing
from masquerade.ranges import at_least, checked
from masquerade.storage import atomic_write
from masquerade.text import escape

if TYPE_CHECKING:
    from masquerade.video.frame import Frame

Flag = tyro.conf.FlagCreatePairsOff[bool]
Name = Annotated[str, tyro.conf.Positional]
Folder = Annotated[
    Path | None,
    arg(
        help="folder of templates; by default what MASQUERADE_TEMPLATES names, else "
        "masquerade/templates in $XDG_DATA_HOME or ~/.local/share."
    ),
]
Output = Annotated[Path, arg(aliases=["-o"])]
Overwrite = Annotated[Flag, arg(aliases=["-y"])]


def add(
    name: Name,
    *,
    image: Path,
    at: tyro.conf.UseAppendAction[tuple[str, ...]],
    keys: str = "colour-hog",
    key_weights: Path | None = None,
    library: Folder = None,
) -> int:
    """Save what lies at some points of a picture as a template; a template may be added to.

    Example: masquerade templates add eye --image me.jpg --at 212,140

    Args:
        name: such as eye; `masquerade templates concepts` lists the paper's.
        image: a picture, or a video.
        at: a point X,Y in its pixels; of a video FRAME:X,Y, frames counted from 0. Several are
            given each with --at.
        keys: what places are compared by: colour-hog (needs nothing; within one video), dino-s8,
            dino-s16, dinov2-s14.
        key_weights: the network's file of weights; without it the fetched one.
    """
    from masquerade.regions.key_extractors import build_key_extractor
    from masquerade.regions.template import make_template
    from masquerade.regions.template_library import Library
    from masquerade.regions.template_regions import parse_point
    from masquerade.video.frame import Frame
    from masquerade.video.read import Reader

    features = build_key_extractor(keys, weights=key_weights)
    points = [parse_point(point) for point in at]
    if not points:
        raise UsageError(f"say where {name} is with --at X,Y, or FRAME:X,Y of a video.")
    templates = []
    held = Library(folder=library)
    with Reader(image, force_8bit=True) as reader:
        frames = {frame for frame, _, _ in points}
        for item in reader:
            if isinstance(item, Frame) and item.index in frames:
                own = [(x, y) for frame, x, y in points if frame == item.index]
                which = None if reader.info.frames == 1 else item.index
                picture = _upright(item)
                templates.append(
                    make_template(name, picture, own, features, image=image.name, frame=which)
                )
                frames.discard(item.index)
            if not frames:
                break
    if frames:
        raise UsageError(f"{image.name} has no frame {min(frames)}; frames are counted from 0.")
    for template in templates:
        held.add(template)
    count = len(held.load(name).picks)
    print(f"{name}: {count} point(s), keys {features.fingerprint}.", file=sys.stderr)
    return 0


@checked
def show(
    name: Name,
    video: Annotated[Path, tyro.conf.Positional],
    *,
    output: Output,
    keys: str = "colour-hog",
    key_weights: Path | None = None,
    every: Annotated[int, at_least(0, 1000)] = 0,
    library: Folder = None,
    overwrite: Overwrite = False,
) -> int:
    """Draw a heat map of how strongly a template would hide each place of a picture or video.

    The output shows the original: it is for your eyes, not for release, and nobody else can read
    it.

    Example: masquerade templates show eye me.mp4 -o heat.mp4

    Args:
        name: of the template.
        video: or a picture.
        output: .png, .jpg, or a video.
        keys: as for add.
        key_weights: as for add.
        every: keys in every so many frames; 0: where motion asks for it.
        overwrite: replace an existing output.
    """
    from masquerade.regions.template_regions import Templates
    from masquerade.report.heatmap import draw_heatmap
    from masquerade.video.encoding import Encoding, codec_for, container_for
    from masquerade.video.frame import Frame
    from masquerade.video.read import Reader
    from masquerade.video.write import Writer

    refuse_replacing(output, video, key_weights)
    source = Templates(
        templates=(name,), keys=keys, key_weights=key_weights, every=every, library=library
    )
    encoding = Encoding(codec=codec_for(output))
    with (
        Reader(video, force_8bit=True) as reader,
        atomic_write(output, overwrite=overwrite, private=True) as part,
    ):
        frames, pictures = tee(item for item in reader if isinstance(item, Frame))
        regions = source(cast(Iterable[Any], pictures))
        info = replace(reader.info, has_alpha=False)
        container = container_for(output, encoding)
        with Writer(part, info=info, container=container, encoding=encoding) as writer:
            for frame, region in zip(frames, regions, strict=True):
                assert region.strength is not None
                heatmap = draw_heatmap(_upright(frame), region.strength)
                writer.write(heatmap, frame)
    print(f"{escape(output)}  (shows the original: not for release)", file=sys.stderr)
    return 0


def list_templates(*, library: Folder = None, json: Flag = False) -> int:
    """List your templates.

    Example: masquerade templates list

    Args:
        json: print them as JSON.
    """
    from masquerade.regions.template_library import Library

    held = Library(folder=library)
    templates, damaged = [], False
    for name in held.names():
        try:
            templates.append(held.load(name))
        except UsageError as error:
            damaged = True
            print(f"masquerade: {error}", file=sys.stderr)
    if json:
        entries = [
            {"name": t.name, "keys": t.extractor, "picks": [p.image for p in t.picks]}
            for t in templates
        ]
        print(jsons.dumps(entries, indent=1))
        return int(damaged)
    table = Table()
    table.add_column("template", no_wrap=True)  # cut off, it could not be given to --regions
    for title in ("points", "pictures", "keys"):
        table.add_column(title, overflow="fold")
    for template in templates:
        pictures = ", ".join(dict.fromkeys(pick.image for pick in template.picks))
        # both are of a file that may come from somebody else
        cells = Text(escape(pictures)), Text(escape(template.extractor))
        table.add_row(template.name, str(len(template.picks)), *cells)
    empty = "There are none yet: masquerade templates add --help"
    Console().print(table if templates or damaged else empty)
    return int(damaged)


def concepts() -> int:
    """List the paper's nine concepts, and which of them it hides on which dataset.

    Example: masquerade templates concepts
    """
    from masquerade.regions.template import CONCEPTS, SUBSETS

    table = Table("concept", "where to point", "subsets")
    for name, about in CONCEPTS.items():
        table.add_row(name, about, ", ".join(k for k, names in SUBSETS.items() if name in names))
    Console().print(table)
    return 0


def remove(name: Name, *, library: Folder = None) -> int:
    """Delete a template.

    Example: masquerade templates remove eye

    Args:
        name: of the template.
    """
    from masquerade.regions.template_library import Library

    Library(folder=library).remove(name)
    return 0


def export(
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    output: Output,
    library: Folder = None,
    overwrite: Overwrite = False,
) -> int:
    """Write templates into one file, for `import` on another machine.

    Example: masquerade templates export eye hair -o mine.safetensors

    Args:
        names: which; without any, all.
        output: the file.
        overwrite: replace an existing file.
    """
    from masquerade.regions.template_library import Library

    Library(folder=library).export(output, names, overwrite=overwrite)
    return 0


def import_file(file: Annotated[Path, tyro.conf.Positional], *, library: Folder = None) -> int:
    """Add the templates of a file that `export` wrote to your library.

    Example: masquerade templates import mine.safetensors

    Args:
        file: what was exported.
    """
    from masquerade.regions.template_library import Library

    print(", ".join(Library(folder=library).import_(file)), file=sys.stderr)
    return 0


def fetch(name: Name) -> int:
    """Download a key network's published weights and check their digest.

    Example: masquerade templates fetch dinov2-s14

    Args:
        name: dinov2-s14; of dino-s8 and dino-s16 no digest is known, and you get them yourself.
    """
    from masquerade.regions.key_weights import fetch as fetch_weights

    print(fetch_weights(name))
    return 0


def _upright(frame: "Frame") -> Any:
    """(H, W, 3) with 8 bits."""
    import numpy as np

    return np.asarray(frame.rgb((frame.width, frame.height)), np.uint8)


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    verbs: dict[str, Callable[..., int]] = {"add": add, "list": list_templates, "show": show}
    verbs |= {"remove": remove, "export": export, "import": import_file}
    verbs |= {"concepts": concepts, "fetch": fetch}
    return run_command(argv, verbs, verb="masquerade templates")
