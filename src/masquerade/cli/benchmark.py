"""`masquerade benchmark`: whole tables by one command, resumed where it was stopped.

What it does is in `benchmark_run`, which is imported where it is used: the help does not wait for
torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from masquerade.cli.readable_help import Box, parse_boxes
from masquerade.ranges import Checked, NonNegativeInt, PositiveInt

EXAMPLE = "masquerade benchmark quick -o quick/"


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """Run the tables of a suite: get the data, train, anonymize, attack and report.

    What is done is kept in the folder of -o, and a benchmark that was stopped goes on there.
    """

    suite: Positional[str | None] = None  # a suite that comes with masquerade, or a TOML file.
    # a folder for everything: data, training runs, clips (raw ones too: guard it) and results.
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    # the folder in which the datasets lie, as their authors publish them.
    data: Path = Path(".")
    tables: str | None = None  # some of the suite's tables, separated by commas; by default all.
    rows: str | None = None  # some of their rows, separated by commas; by default all.
    seeds: PositiveInt | None = None  # of every training and attacker, instead of the suite's.
    # a file of an ImageNet ViT (timm, DeiT, DINO), from which trainings of stprivacy start, and the
    # video ViTs of attackers too, as the papers' do.
    image_weights: Path | None = None
    # published weights from which an attacker starts too, such as resnet-50=resnet50.pth; give it
    # once for each.
    attacker_weights: UseAppendAction[tuple[str, ...]] = ()
    # weights of the network whose keys templates are compared by (Selective's: DINO ViT-S/8).
    key_weights: Path | None = None
    workers: NonNegativeInt = 0  # commands and fits side by side; 0: one a core, or one a GPU.
    # where methods and attackers are trained: processes of this machine, or ray, on many machines.
    engine: Literal["processes", "ray"] = "processes"
    # head of a running Ray cluster, as in 10.0.0.5:6379; by default $RAY_ADDRESS, else Ray is
    # started on this machine.
    address: str | None = None
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps.
    # GB that copies of clips may take on the disk; by default 100.
    store_limit: float | None = None
    # list the suites, or what one would do and what it lacks, and do nothing.
    list: bool = False
    # do it all on a few clips with tiny networks, into a folder `try-out` of -o, to see whether
    # everything is there; the results are void.
    try_out: bool = False
    # short clips of each row that the page shows: what comes out of its method, and raw video of
    # drawn people alone; 0: none.
    videos: NonNegativeInt = 2
    json: bool = False  # print the results as JSON.


def parse(argv: Sequence[str]) -> Options:
    """The options of the verb."""
    (options,) = parse_boxes(
        list(argv),
        {"": Box(Options)},
        verb="masquerade benchmark",
        description=f"{EXAMPLE}\n\n{(Options.__doc__ or '').splitlines()[0]}",
    )
    assert isinstance(options, Options)
    return options


def main(argv: list[str]) -> int:
    """Run the verb, and return its exit code: 1 where a part failed or a table is void."""
    options = parse(argv)
    from masquerade.cli.benchmark_run import run

    return run(options, argv)
