"""What a folder keeps of each table that was measured in it, so that its page shows all of them.

Tables of several suites and of several runs lie in one folder; each stays there until it is
measured again.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from masquerade.benchmark.beside import OurScores
from masquerade.benchmark.data_origins import DataOrigin
from masquerade.benchmark.guessing import GuessFloor
from masquerade.benchmark.shown_clips import ShownClip, ShownClips
from masquerade.benchmark.suite import Ablation
from masquerade.benchmark.time_spent import RowTime, TimeSpent
from masquerade.errors import UsageError
from masquerade.evaluation import Evaluation, from_json

ABOUT = ".about.json"  # behind the table's name: what the page says of it beside its results


@dataclass(frozen=True, kw_only=True)
class KeptTable:
    """What a page says of a measured table beside its results."""

    name: str  # in its suite
    suite: str  # the name of its file
    title: str  # of the suite
    place: int  # of the table in its suite
    masquerade: str  # the version that measured it
    published: str | None  # the printed table that it stands beside
    ours: OurScores | None  # what stands there
    origins: tuple[DataOrigin, ...]  # of its data
    shown: ShownClips
    ablations: tuple[Ablation, ...] = ()  # that its suite states
    time: TimeSpent | None = None  # None: an earlier version did not keep it
    versions: Mapping[str, str] = field(default_factory=dict)  # of the libraries, as of `time`

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def results_folder(folder: Path, suite: str) -> Path:
    """Where the results of a suite's tables lie."""
    return folder / "results" / suite


def clips_folder(folder: Path, suite: str, table: str) -> Path:
    """Where the clips lie that the page shows of a table."""
    return results_folder(folder, suite) / f"{table}-clips"


def has_tables(folder: Path) -> bool:
    """Whether a benchmark has written tables into a folder."""
    return any(_kept_files(folder))


def _kept_files(folder: Path) -> Iterator[Path]:
    return (folder / "results").glob(f"*/*{ABOUT}")


def kept_tables(
    folder: Path, *, report: Callable[[str], None]
) -> list[tuple[KeptTable, Evaluation]]:
    """All tables of a folder, suite by suite; `report` is told of files that cannot be read."""
    tables = []
    for path in _kept_files(folder):
        name = path.name.removesuffix(ABOUT)
        try:
            result = from_json(path.with_name(f"{name}.json").read_text("utf-8"))
            tables.append((_read(json.loads(path.read_text("utf-8"))), result))
        except (OSError, ValueError, TypeError, LookupError, AttributeError, UsageError) as error:
            report(f"{path.with_name(name)} is not on the page: {error}")
    return sorted(tables, key=lambda pair: (pair[0].suite, pair[0].place, pair[0].name))


def _read(plain: dict[str, Any]) -> KeptTable:
    ours, shown = plain.pop("ours"), plain.pop("shown")
    if ours is not None:
        cells = {
            row: {int(column): text for column, text in texts.items()}
            for row, texts in ours.pop("cells").items()
        }
        floors = [
            GuessFloor(**{**floor, "per_attribute": None}) for floor in ours.pop("floors", ())
        ]
        ours = OurScores(cells=cells, floors=tuple(floors), **ours)
    time = plain.pop("time", None)
    if time is not None:
        time = TimeSpent(rows=tuple(RowTime(**row) for row in time.pop("rows")), **time)
    return KeptTable(
        time=time,
        ours=ours,
        origins=tuple(DataOrigin(**origin) for origin in plain.pop("origins")),
        shown=ShownClips(
            clips=tuple(ShownClip(**clip) for clip in shown["clips"]),
            left_out=tuple(shown["left_out"]),
        ),
        ablations=tuple(Ablation(**ablation) for ablation in plain.pop("ablations")),
        **plain,
    )
