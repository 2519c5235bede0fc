"""Choose which networks attack and recognize, and average what they read.

Ilic et al. (CVPR 2024) print means over recognizers: of the action over networks of clips, of
privacy over networks of single frames (docs/papers.md 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.evaluation import kernel_ridge
from masquerade.evaluation.attacker_choice import ScoredAttacker
from masquerade.evaluation.attackers import ATTACKERS
from masquerade.evaluation.config import EvaluationConfig
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.own_sampling import with_own_sampling
from masquerade.evaluation.presets import AttackerModel, Preset, get_preset, with_sampling
from masquerade.evaluation.results import NetworkMean, Reads
from masquerade.metrics.intervals import score_over_runs
from masquerade.metrics.statistic import Statistic, average
from masquerade.models.recognizers import RECOGNIZERS

UNMIRRORED = "Networks learn from no mirror images, as was asked for."


def preset_of(config: EvaluationConfig) -> tuple[Preset, tuple[str, ...]]:
    """The preset with a configuration's networks and sampling, and notes on that sampling."""
    preset = replace(get_preset(config.preset), amp=config.amp)
    if not config.mirror:
        preset = replace(preset, augment=replace(preset.augment, flip=0.0))
    preset, notes = with_sampling(
        with_recognizers(preset, config.recognizers),
        stride=config.stride,
        views=config.views,
        aspect=config.aspect,
        padding=config.padding,
        test_crop=config.test_crop,
    )
    preset, own_notes = with_own_sampling(preset, config.clip_sampling)
    mirrored = () if config.mirror else (UNMIRRORED,)
    return preset, (*notes, *own_notes, *mirrored)


def with_recognizers(preset: Preset, names: Sequence[str] | None) -> Preset:
    """The preset with these networks in place of its own; None: with its own.

    A name is that of one of the preset's networks, or one in RECOGNIZERS, which is fed what it
    reads: single frames, clips, clips and their flow, or poses. Kernel machines stay: they cost
    nothing, and on few clips they are often the strongest.

    Raises:
        UsageError: no name, or no such network.
    """
    if names is None:
        return preset
    networks = {
        name: model for name, model in preset.attackers.items() if model.network is not None
    }
    if not names:
        raise UsageError("--recognizers wants a name or more, such as resnet-50,i3d-r50.")
    for name in names:
        if name not in networks and name not in RECOGNIZERS:
            choices = ", ".join(dict.fromkeys([*networks, *RECOGNIZERS]))
            raise UsageError(f"There is no recognizer {name!r}; choose of {choices}.")
    chosen = {name: networks.get(name) or recognizer(name) for name in dict.fromkeys(names)}
    kernels = {name: model for name, model in preset.attackers.items() if model.network is None}
    return replace(preset, attackers={**chosen, **kernels})


def recognizer(name: str) -> AttackerModel:
    """An attacker that is a network in RECOGNIZERS, fed what that network reads."""
    entry = RECOGNIZERS[name]
    return AttackerModel(
        modality=entry.modality,
        content="poses" if entry.poses else "frames",
        network=name,
        motion=entry.channels == 2,
    )


def models_within_limit(
    models: Mapping[str, AttackerModel], truth: GroundTruth
) -> tuple[dict[str, AttackerModel], tuple[str, ...]]:
    """The attackers without kernel machines where these are too many clips, and a note on them."""
    most = max(len(fold.train) for protocol in truth.protocols.values() for fold in protocol.folds)
    # A finetuned kernel machine learns raw and anonymized clips together.
    if 2 * most <= kernel_ridge.MOST_CLIPS:
        return dict(models), ()
    left = {name: model for name, model in models.items() if model.network is not None}
    if not left:
        raise UsageError(
            f"{most} training clips are too many for the kernel attackers of this preset; choose "
            "one with networks, such as --preset many."
        )
    out = ", ".join(name for name in models if name not in left)
    note = (
        f"Kernel attackers are left out ({out}): there are {most} training clips, and "
        f"they take at most {kernel_ridge.MOST_CLIPS // 2}."
    )
    return left, (note,) if out else ()


def network_means(
    scored: Sequence[ScoredAttacker], models: Mapping[str, AttackerModel], clusters: IntArray
) -> list[tuple[NetworkMean, Statistic, list[Statistic]]]:
    """The mean score over the networks of each family, those of clips and of single frames apart.

    Each comes with what it is computed by, and with the same of single training runs. Nothing is
    chosen: weak networks count as strong ones do, and of one network it is its own. The mean of the
    family `published` is over all networks, too: those without published weights start at random.
    """
    members: dict[tuple[str, Reads], dict[str, ScoredAttacker]] = {}
    for name, model in models.items():
        if model.network is None or model.background:
            continue
        reads: Reads = "stills" if RECOGNIZERS[model.network].per_frame else "clips"
        for attacker in scored:
            family = attacker.outputs.family
            if family in ATTACKERS and attacker.outputs.name == f"{family} {name}":
                members.setdefault((family, reads), {})[name] = attacker
    for (family, reads), networks in members.items():
        if family == "published":
            members[family, reads] = members.get(("scratch", reads), {}) | networks
    means = []
    for (family, reads), networks in members.items():
        attackers = list(networks.values())
        runs = [
            average(run) for run in zip(*(attacker.runs for attacker in attackers), strict=True)
        ]
        mean = average([attacker.test for attacker in attackers])
        about = NetworkMean(
            family=family,
            reads=reads,
            networks=tuple(networks),
            score=score_over_runs(mean, runs, clusters=clusters),
        )
        means.append((about, mean, runs))
    return means
