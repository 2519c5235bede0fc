"""Our scores beside a paper's: which of ours stands under which of theirs, and in which unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from masquerade.benchmark.beside import OurScores, beside_paper, our_cells, our_scores
from masquerade.benchmark.suite import Suite, parse_suite
from masquerade.errors import UsageError
from masquerade.evaluation.results import SCHEMA, Attack, Evaluation, LabelResult, NetworkMean, Row
from masquerade.metrics.intervals import Score


def score(value: float) -> Score:
    return Score(value=value, low=value - 0.1, high=value + 0.1, n=9, clusters=9)


def finding(label: str, metric: str, value: float, *, use: str = "private", raw: float = 0.0):
    attacks = (
        Attack(
            family="scratch",
            name="scratch resnet-50",
            validation=0.9,
            test=score(value),
            seed_sd=None,
        ),
        Attack(family="raw", name="raw resnet-50", validation=0.5, test=score(raw), seed_sd=None),
    )
    return LabelResult(
        label=label,
        use=use,
        metric=metric,
        protocol="people unseen",
        floors={},
        attacks=attacks,
        strongest="scratch resnet-50",
        score=score(value),
        leakage=None,
        beyond_action=None,
        retrained_gain=None,
        retrained_holds=None,
        f_half=None,
        void=None,
    )


def row(name: str, *findings: LabelResult, **changes: Any) -> Row:
    plain: dict[str, Any] = dict(
        method=None, arguments={}, regions="frame", not_applicable=None, clips=9, skipped={}
    )
    return Row(name=name, cpu_seconds=0.0, findings=findings, **{**plain, **changes})


def evaluation(*rows: Row) -> Evaluation:
    return Evaluation(
        schema=SCHEMA,
        data="d",
        command="",
        preset="paper",
        folds=0,
        seeds=1,
        attackers=("scratch",),
        through_file=False,
        controls=(),
        void=None,
        limits=(),
        rows=rows,
    )


def suite(published: str, dataset: str, rows: list[dict[str, Any]], **changes: Any) -> Suite:
    data = {"d": {"manifest": "d.csv", "dataset": dataset}}
    data["p"] = {"manifest": "p.csv", "dataset": "VISPR1"}
    one = {"name": "t", "title": "T", "data": "d", "published": published, "rows": rows, **changes}
    return parse_suite({"title": "S", "about": "a", "data": data, "tables": [one]}, "mine")


RAW = {"name": "Raw", "raw": True}


def test_a_network_from_published_weights_stands_beside_the_papers_where_there_is_one() -> None:
    one = finding("action", "top-1", 0.5, use="utility")
    started = replace(
        one.attacks[0], family="published", name="published resnet-50", test=score(0.8)
    )
    both = replace(one, attacks=(*one.attacks, started))
    of = suite("selective-1", "KTH", [{"name": "ResNet-50", "raw": True, "network": "resnet-50"}])
    found = [cells(of, row("raw", each)) for each in (one, both)]
    assert [list(each["ResNet-50"].values()) for each in found] == [
        ["50.00 [40.00, 60.00]"],
        ["80.00 [70.00, 90.00]"],
    ]


BLUR = {"name": "WeakBlur", "method": "blur"}


def cells(of: Suite, *rows: Row) -> dict[str, dict[int, str]]:
    return our_cells(of, of.table("t"), evaluation(*rows))


def section(of: Suite, found: Evaluation) -> str:
    return beside_paper(of.table("t"), our_scores(of, of.table("t"), found))


def test_each_score_stands_under_its_dataset_label_and_metric() -> None:
    mine = (
        finding("action", "top-1", 0.5, use="utility"),
        finding("attributes by cMAP", "cMAP", 0.7),
        finding("attributes by F1", "F1", 0.6),
        finding("attributes", "AUROC", 0.8),
    )
    found = cells(
        suite("stprivacy-known", "VP-UCF101", [RAW, BLUR]), row("raw", *mine), row("WeakBlur")
    )
    assert found == {
        "Raw": {3: "50.00 [40.00, 60.00]", 4: ".600 [.500, .700]", 5: "70.00 [60.00, 80.00]"}
    }


@pytest.mark.parametrize("family", ["prior", "together"])
def test_who_is_told_the_action_does_not_stand_beside_a_paper(family: str) -> None:
    """It reads more behind every method, and papers' attackers see video alone."""
    one = finding("attributes by cMAP", "cMAP", 0.7)
    told = replace(
        one.attacks[0], family=family, name="told", validation=1.0, test=score(0.9), counts=True
    )
    most = replace(one, attacks=(*one.attacks, told), strongest="told", score=score(0.9))
    found = cells(suite("stprivacy-known", "VP-UCF101", [RAW]), row("raw", most))
    assert found == {"Raw": {5: "70.00 [60.00, 80.00]"}}


def test_printed_scores_are_marked_by_what_is_guessed_from_the_labels_here() -> None:
    """Also of datasets whose labels nobody published."""
    objects = finding("object", "cMAP", 0.4)
    floors = {"constant": score(0.3), "action prior": score(0.35), "predicted action": score(0.9)}
    mine = finding("action", "cMAP", 0.5, use="utility"), replace(objects, floors=floors)
    of = suite("spact-hvu", "P-HVU", [RAW])
    found = our_scores(of, of.table("t"), evaluation(row("raw", *mine)))
    assert found is not None
    said = {(one.label, one.guess): (one.value, one.knows) for one in found.floors}
    assert said == {
        ("objects", "constant"): (pytest.approx(30), "nothing"),
        ("objects", "action prior"): (pytest.approx(35), "the true action"),
    }
    page = section(of, evaluation(row("raw", *mine)))
    assert "scored by 'constant', who knows nothing of a video (computed from the labels" in page
    void = replace(evaluation(row("raw", *mine)), void="a try-out")
    assert "computed from the labels of this run" not in section(of, void)


def test_a_mean_without_void_attributes_says_so_and_is_no_floor_of_the_printed_one() -> None:
    void = replace(finding("face", "AUROC", 0.5), void="nobody reads it")
    found = beside_mean_over(void, *(finding(name, "AUROC", 0.9) for name in ("skin", *"abc")))
    assert found.cells["Raw"][5] == "80.00 [70.00, 90.00] without face"
    assert not [one for one in found.floors if one.metric == "cMAP"]


@pytest.mark.parametrize(("labels", "floors"), [("ab", []), ("abcde", [30.0])])
def test_a_mean_over_fewer_attributes_is_no_floor_of_the_printed_one(
    labels: str, floors: list[float]
) -> None:
    """As with --labels; the paper's is over five."""
    found = beside_mean_over(*(finding(name, "AUROC", 0.9) for name in labels))
    assert [one.value for one in found.floors if one.metric == "cMAP"] == pytest.approx(floors)


def beside_mean_over(*attributes: LabelResult) -> OurScores:
    mean = finding("attributes by cMAP", "cMAP", 0.8)
    mean = replace(mean, floors={"constant": score(0.3)})
    action = finding("action", "top-1", 0.5, use="utility")
    of = suite("stprivacy-known", "VP-UCF101", [RAW])
    found = our_scores(of, of.table("t"), evaluation(row("raw", action, mean, *attributes)))
    assert found is not None
    return found


def test_action_and_attributes_may_be_of_two_datasets() -> None:
    mine = (
        finding("action", "top-1", 0.5, use="utility"),
        finding("attributes by cMAP", "cMAP", 0.7),
        finding("attributes by F1 above .62", "F1 above .62", 0.6),
    )
    of = suite("spact-ucf-vispr", "UCF101", [RAW], private_data="p")
    assert set(cells(of, row("raw", *mine))["Raw"]) == {0, 1, 2}
    assert set(cells(suite("spact-ucf-vispr", "UCF101", [RAW]), row("raw", *mine))["Raw"]) == {0}
    scored = suite("spact-pa-hmdb", "PA-HMDB51", [RAW], private_data="p", score_on="d")
    assert set(cells(scored, row("raw", *mine))["Raw"]) == {0, 1, 2}


def test_of_untrained_methods_the_asked_for_attackers_stand_there() -> None:
    rows = [
        {"name": "Original", "raw": True},
        {"name": "Blur weak", "method": "blur"},
        {"name": "BDQ", "train": "bdq"},
    ]
    action = finding("action", "top-1", 0.8, use="utility", raw=0.3)
    who = finding("identity", "top-1", 0.6, raw=0.1)
    lines = [row(name, action, who) for name in ("raw", "Blur weak", "BDQ")]
    found = cells(suite("selective-2", "KTH", rows, published_attackers="raw"), *lines)
    assert found["Original"][3].startswith("80.00") and found["BDQ"][4].startswith("60.00")
    assert found["Blur weak"][3] == "30.00 [20.00, 40.00]"
    assert found["Blur weak"][4].startswith("10.00") and found["Blur weak"][5] == ".60"


def test_where_the_mean_over_networks_was_asked_for_it_stands_there() -> None:
    def means(label: str, *, use: str, **each: float) -> LabelResult:
        every = tuple(
            NetworkMean(family=family, reads=reads, networks=("x",), score=score(each[key]))
            for key, (family, reads) in {
                "clips": ("scratch", "clips"),
                "stills": ("scratch", "stills"),
                "raw_clips": ("raw", "clips"),
                "raw_stills": ("raw", "stills"),
            }.items()
        )
        return replace(finding(label, "top-1", 0.99, use=use), means=every)

    each = {"clips": 0.8, "stills": 0.6, "raw_clips": 0.5, "raw_stills": 0.4}
    both = means("action", use="utility", **each), means("gender", use="private", **each)
    rows = [
        {"name": "Original", "raw": True},
        {"name": "Pixelate 4", "method": "pixelate"},
        {"name": "BDQ", "train": "bdq"},
    ]
    of = suite("selective-2", "IPN", rows, published_attackers="raw", evaluate="--average")
    found = cells(of, row("raw", *both), row("Pixelate 4", *both), row("BDQ", *both))
    short = {name: [cells[0].split()[0], cells[1].split()[0]] for name, cells in found.items()}
    learned = ["80.00", "60.00"]  # from what they are scored on
    assert short == {"Original": learned, "Pixelate 4": ["50.00", "40.00"], "BDQ": learned}
    page = section(of, evaluation(row("raw", *both)))
    assert "the mean over networks" in page and "strongest" not in page.splitlines()[2]
    alone = section(suite("selective-2", "IPN", rows), evaluation(row("raw", *both)))
    assert "strongest attackers, chosen for each test fold" in alone.splitlines()[2]
    assert "of which up to ten are averaged; of private labels" in alone.splitlines()[2]


def test_a_network_of_raw_video_stands_beside_its_own_line() -> None:
    rows = [{"name": "ResNet-50", "raw": True, "network": "resnet-50"}]
    rows += [{"name": "ViT-B/16", "raw": True, "network": "vit-b-16"}]
    found = cells(suite("selective-1", "SBU", rows), row("raw", finding("identity", "top-1", 0.6)))
    assert found == {"ResNet-50": {5: "60.00 [50.00, 70.00]"}}


def test_single_networks_behind_a_row_stand_in_a_line_of_their_own() -> None:
    line = {"name": "Ours, two", "row": "Ours", "action": "i3d-r50", "private": "resnet-50"}
    ours = {"name": "Ours", "method": "selective"}
    of = suite("selective-2", "SBU", [RAW, ours], network_lines=[line], published_attackers="raw")
    acts = finding("action", "top-1", 0.9, use="utility")
    i3d = replace(acts.attacks[1], name="raw i3d-r50", test=score(0.7))
    acts = replace(acts, attacks=(*acts.attacks, i3d))
    who = finding("identity", "top-1", 0.6, raw=0.2)
    found = cells(of, row("raw", acts, who), row("Ours", acts, who))
    assert list(found["Ours, two"].values())[:2] == ["70.00 [60.00, 80.00]", "20.00 [10.00, 30.00]"]
    assert list(found["Ours, two"].values())[2] == ".75", "f of these two"
    assert found["Ours"] != found["Ours, two"]
    out = row("Ours", not_applicable="no weights")
    assert set(cells(of, row("raw", acts, who), out)["Ours, two"].values()) == {"n/a"}
    with pytest.raises(UsageError, match="of Theirs, which is none of its rows"):
        suite("selective-2", "SBU", [RAW, ours], network_lines=[{**line, "row": "Theirs"}])


def test_lines_of_ours_stand_under_the_printed_ones_and_under_empty_figures() -> None:
    of = suite("stprivacy-known", "VP-HMDB51", [RAW, BLUR])
    mine = finding("action", "top-1", 0.5, use="utility")
    out = evaluation(row("raw", mine), row("WeakBlur", not_applicable="it failed"))
    page = section(of, out).splitlines()
    at = next(i for i, line in enumerate(page) if line.startswith("| Raw |"))
    assert page[at + 1] == "| *Raw, here* | 50.00 [40.00, 60.00] |  |  |  |  |  |"
    assert any(line.startswith("| *WeakBlur, here* | n/a | n/a | n/a |") for line in page)
    figure = suite("selective-fig8", "KTH", [{"name": "warped noise", "method": "selective"}])
    page = section(figure, evaluation(row("raw"), row("warped noise", mine)))
    assert "| *warped noise, here* |  |  | 50.00 [40.00, 60.00] |" in page


def test_without_a_printed_table_there_is_no_section() -> None:
    of = suite("stprivacy-known", "VP-HMDB51", [RAW])
    plain = parse_suite(
        {
            "title": "S",
            "about": "a",
            "data": {"d": {"draw": ""}},
            "tables": [{"name": "t", "title": "T", "data": "d", "rows": [BLUR]}],
        },
        "mine",
    )
    assert section(plain, evaluation(row("raw"))) == ""
    assert "## Beside the paper" in section(of, evaluation(row("raw")))


@pytest.mark.parametrize("void", ["all is void", None])
def test_what_is_void_is_said(void: str | None) -> None:
    of = suite("stprivacy-known", "VP-HMDB51", [RAW])
    lost = replace(finding("action", "top-1", 0.5, use="utility"), void="chance")
    page = section(of, replace(evaluation(row("raw", lost)), void=void))
    assert ("VOID: all is void" in page) == (void is not None)
    assert "50.00 [40.00, 60.00] void" in page
