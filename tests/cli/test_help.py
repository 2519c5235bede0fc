"""The help: short, in a person's words, and complete where all is asked for."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest

from masquerade.cli import VERBS
from masquerade.cli import anonymize as anonymize_verb
from masquerade.cli import evaluate as evaluate_verb
from masquerade.cli import methods as methods_verb
from masquerade.cli import train as train_verb
from masquerade.errors import UsageError
from masquerade.methods import METHODS
from masquerade.regions import REGIONS, People
from masquerade.regions.people import HOG_SCALE, THRESHOLDS
from masquerade.regions.pose_tracking import PoseTrackingRules
from masquerade.training.recipes import RECIPES

LONG = {"anonymize": anonymize_verb, "evaluate": evaluate_verb, "train": train_verb}
COMMANDS = {
    "data": ("check", "vote", "floors", "convert", "mimes"),
    "templates": ("add", "list", "show", "remove", "export", "import", "concepts", "fetch"),
}
EVERY = [
    *((verb,) for verb in VERBS),
    *((verb, name) for verb, names in COMMANDS.items() for name in names),
    *(("anonymize", "--method", name) for name in METHODS),
    *(("train", name) for name in RECIPES),
]
FLAG = re.compile(r"^│ (?:-\w[^,]*, )?(--[\w-]+)", re.M)


def test_no_help_waits_for_torch() -> None:
    """It takes most of the time of a start. One process asks for all, as a start takes time too."""
    below = [(verb, name) for verb, names in COMMANDS.items() for name in names]
    asked = [*((verb,) for verb in VERBS), *below]
    script = f"""
import contextlib, io, sys
from masquerade.cli import main
for words in {asked}:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            code = main([*words, "--help"])
        except SystemExit as ended:
            code = ended.code
    assert not code, words
    assert len(words) > 1 or f"usage: masquerade {{words[0]}}" in printed.getvalue(), words
    assert not {{"torch", "cv2", "matplotlib"}} & set(sys.modules), words
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_short_help_of_train_is_that_of_its_first_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a name it is made without the recipe, which imports torch."""
    assert printed("train", "--help", monkeypatch=monkeypatch) == printed(
        "train", next(iter(RECIPES)), "--help", monkeypatch=monkeypatch
    )


def printed(*words: str, columns: int = 80, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command line prints on a terminal of so many columns."""
    monkeypatch.setenv("COLUMNS", str(columns))
    text = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        assert import_module(f"masquerade.cli.{words[0]}").main(list(words[1:])) == 0
    text.seek(0)
    return text.read()


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_no_help_names_what_only_programs_know(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for ask in ("--help", "--help-all") if len(words) == 1 else ("--help-all",):
        text = printed(*words, ask, monkeypatch=monkeypatch)
        text = text.replace("{seed}/{fold}", "")
        for internal in ("None", "{", "True", "False", "MISSING", "ablations", "class '", "()"):
            assert internal not in text, internal
        assert not re.search(r"\b(STR|INT|FLOAT)\b|: ?\)|\w_\w*=|`\w+_\w+`", text)


@pytest.mark.parametrize("verb", LONG)
def test_every_option_is_in_the_whole_help_once(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = FLAG.findall(printed(verb, "--help-all", columns=100, monkeypatch=monkeypatch))
    assert len(found) == len(set(found))
    for field in fields(LONG[verb].Options):
        if field.name not in ("inputs", "name"):
            flag = "--no-" * (field.default is True) + "--" * (field.default is not True)
            assert flag + field.name.replace("_", "-") in found
    assert "other options" not in printed(verb, "--help-all", monkeypatch=monkeypatch)


@pytest.mark.parametrize("verb", LONG)
def test_the_short_help_fits_a_screen(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(verb, "--help", monkeypatch=monkeypatch)
    found = set(FLAG.findall(text)) - {"--help", "--help-all", "--level", "--regions", "--method"}
    assert len(found) <= 10 and "--output" in found
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines[lines.index("") + 3 :])) <= 100  # boxes are of the terminal's width
    assert all(len(line) == 80 for line in lines if line[:1] in "│╭╰" and line)


def test_defaults_in_the_help_are_those_of_the_region_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = " ".join(
        printed("anonymize", "--help-all", columns=900, monkeypatch=monkeypatch).split()
    )
    of = {
        name: {key: one.default for key, one in inspect.signature(REGIONS[name]).parameters.items()}
        for name in ("faces", "people", "hands", "text")
    }
    for key, words in {
        "gap": "bridges",
        "carry": "last detection",
        "lookback": "first detection",
    }.items():
        (default,) = {kind[key] for kind in of.values()}
        assert f"{words}. (default: {default})" in text
    every = ", ".join(f"{name} {kind['every']}" for name, kind in of.items())
    assert f"(default: {every}, templates" in text
    scales = {name: kind["scale"] for name, kind in of.items()}
    scales["people"] = scales["people"] or People().scale  # 0: as the detector needs it
    assert scales == {"faces": None, "people": 960, "hands": 960, "text": 960}
    assert f"(default: 960; faces full; --detector hog {HOG_SCALE})" in text
    scores = (of["faces"]["threshold"], THRESHOLDS["pose"], PoseTrackingRules.box_threshold)
    words = "(default: faces {}; people {}, box {}; text {})".format(
        *scores, of["text"]["threshold"]
    )
    assert words.replace(" 0.", " .") in text


def test_a_negated_flag_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed("anonymize", "--help-all", columns=100, monkeypatch=monkeypatch)
    for flag, said in (("track", "hide single detections"), ("receipt", "write no receipt")):
        assert re.search(rf"--no-{flag} +│?\s*│? *{said}", text), flag
    text = printed("train", "stprivacy", "--help-all", columns=100, monkeypatch=monkeypatch)
    assert re.search(r"--no-strict +let kept tubelets", text)


def test_the_help_of_parts_agrees_with_where_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anywhere, with every method: `test_parts_are_equally_long_wherever_scenes_begin`."""
    text = printed("anonymize", "--help-all", columns=100, monkeypatch=monkeypatch)
    said = " ".join(text.replace("│", " ").partition("--parts N ")[2].split("--")[0].split())
    assert "also run once over the whole video" in said and "scene cut" not in said


def test_the_short_help_of_a_named_method_has_its_own_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "--kernel" not in printed("anonymize", "--help", monkeypatch=monkeypatch)
    named = printed("anonymize", "--method", "blur", "--help", monkeypatch=monkeypatch)
    assert "blur options" in named and "--kernel" in named and "is --short; odd" in named


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_card_with_every_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed("methods", name, columns=200, monkeypatch=monkeypatch)
    card = METHODS[name].card
    assert f"It hides {card.hides}." in text and card.undo[1:] in text and card.paper in text
    for option, parameter in inspect.signature(METHODS[name]).parameters.items():
        flag = f"--{'no-' * (parameter.default is True)}{option.replace('_', '-')}"
        assert flag in FLAG.findall(text)
    assert not re.search("None|{|: \\)", text)


def test_a_card_has_ranges_and_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed("methods", "blur", monkeypatch=monkeypatch)
    assert (
        "(default: 31; an odd number from 3 to 999)" in text and "--preset strong or weak" in text
    )
    listed = printed("methods", monkeypatch=monkeypatch)
    assert all(f" {name} " in listed for name in METHODS) and "methods NAME" in listed
    with pytest.raises(UsageError, match="no method 'blurr'; choose one of"):
        methods_verb.main(["blurr"])
    assert methods_verb.main(["blur", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["blur"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a.mp4", "--crf", "low"], "'low' is not a whole number"),
        (["a.mp4", "--threshold", "None"], "'None' is not a number"),
        (["a.mp4", "--audioo", "keep"], "--audio drop|keep|pitch"),
        (["a.mp4", "--audio", "loud"], "loud"),
    ],
)
def test_a_wrong_value_is_refused_in_words(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        anonymize_verb.main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in said and "int()" not in said and "class" not in said


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_verb_of_commands_lists_them_and_knows_no_other(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = printed(verb, "--help", monkeypatch=monkeypatch)
    assert re.findall(r"^  (\S+)  ", listed, re.M) == list(COMMANDS[verb])
    with pytest.raises(Exception, match=f"masquerade {verb} has no 'chek'; choose one of"):
        import_module(f"masquerade.cli.{verb}").main(["chek"])
