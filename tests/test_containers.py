"""The Dockerfile and compose.yaml name what there is: files, targets of make, extras, commands."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from masquerade.cli.anonymize import parse

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
CLEAN_ROOT = runpy.run_path(str(ROOT / ".ci" / "clean_root.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, each with its lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", joined, re.MULTILINE)


def defaults() -> dict[str, str]:
    return dict(one.split("=", 1) for one in instructions("ARG"))


def commented(text: str) -> list[list[str]]:
    """The commands in a file's comments."""
    return [shlex.split(line) for line in re.findall(r"^#   (docker .+)$", text, re.MULTILINE)]


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


def test_the_images_are_built_of_files_that_there_are_and_that_are_sent() -> None:
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    for sources in instructions("COPY"):
        *names, _ = (word for word in sources.split() if not word.startswith("--"))
        for name in names:
            assert (ROOT / name).exists()
            assert name == "." or f"!{name}" in sent or f"!*{Path(name).suffix}" in sent
    for name in ("tests", "docs", "examples", "benchmarks"):
        assert f"!{name}" in sent, "the tests need it"
    assert sent[1] == "*", "all else, such as videos, stays out"


def test_the_steps_name_targets_extras_and_commands_that_there_are() -> None:
    assert set(defaults()["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    assert f"TORCH ?= {defaults()['TORCH']}\n" in MAKEFILE
    made = [word for step in instructions("RUN") for word in re.findall(r"/ready[a-z-]*", step)]
    assert made and all(f"$(VENV){target}:" in MAKEFILE for target in made)
    *_, last = map(json.loads, instructions("ENTRYPOINT"))
    assert last[0] in PROJECT["scripts"]
    for words in commented(DOCKERFILE):
        if words[:2] == ["docker", "run"] and words[-2] == "masquerade-test":
            assert f"\n{words[-1]}: " in MAKEFILE


def test_the_command_of_the_image_is_run_as_the_user_whose_folder_it_writes() -> None:
    (words,) = (words for words in commented(DOCKERFILE) if "anonymize" in words)
    assert words[words.index("--user") + 1] == "$(id -u):$(id -g)" and "HOME=/tmp" in words
    lines = (ROOT / "docs/many-machines.md").read_text().splitlines()
    assert words in [shlex.split(line) for line in lines if line.startswith("    docker run")]


def test_the_cluster_is_of_services_that_find_each_other() -> None:
    assert "ray" in defaults()["EXTRAS"].split(",")
    head, worker = services()["head"], services()["worker"]
    (port,) = (word for word in head["entrypoint"] if word.startswith("--port="))
    assert f"--address={head['hostname']}:{port[7:]}" in worker["entrypoint"]
    assert worker["depends_on"] == ["head"] and worker["deploy"]["replicas"] == 2
    networks = yaml.safe_load(COMPOSE)["networks"]
    for service in (head, worker):
        assert all(networks[name]["internal"] for name in service["networks"])
        assert service["environment"]["RAY_AUTH_MODE"] == "token"


def test_workers_with_a_gpu_are_those_of_the_cluster_in_an_image_that_can_use_it() -> None:
    more = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text())["services"]
    assert set(more) <= set(services())
    assert set(more["head"]["build"]["args"]) <= set(defaults())
    (device,) = more["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    # Docker mounts the libraries of those that are named, and CUDA's are of `compute`
    assert set(device["capabilities"]) == {"gpu", "compute", "utility", "video"}
    # Docker counts from the first GPU, in each container anew
    assert more["worker"]["deploy"]["replicas"] == 1 and device["count"] == "all"


def test_the_command_in_the_first_lines_of_the_compose_file_is_one() -> None:
    (words,) = (words for words in commented(COMPOSE) if "exec" in words)
    _, _, _, service, verb, *rest = words
    assert service in services() and verb in PROJECT["scripts"] and rest[0] == "anonymize"
    options, _ = parse(rest[1:])
    assert options.engine == "ray" and options.address == "head:6379"


def test_a_clean_root_does_the_steps_of_the_dockerfile(tmp_path: Path) -> None:
    """`.ci/clean_root.py` reads them, so that what it tries is what images are made of."""
    arguments, stages = CLEAN_ROOT["read_dockerfile"](DOCKERFILE)
    assert arguments == {"BASE": defaults()["BASE"]}
    taken = [(word, " ".join(rest.split())) for stage in stages for word, rest in stage.steps]
    for name in {word for word, _ in taken}:
        told = [" ".join(rest.split()) for rest in instructions(name)]
        told = [rest for rest in told if not (name == "ARG" and rest.startswith("BASE="))]
        assert [rest for word, rest in taken if word == name] == told, name
    base, steps = CLEAN_ROOT["steps_of"](stages, None)
    assert base == defaults()["BASE"] and steps[: len(stages[0].steps)] == stages[0].steps
    image = CLEAN_ROOT["Image"](tmp_path)
    for word, rest in steps:
        if word not in ("RUN", "COPY"):  # which need root
            image.take(word, rest)
    assert image.env["PATH"].startswith("/opt/masquerade/bin:/usr/local/sbin:")
    assert (image.user, image.folder, image.entry) == ("masquerade", "/data", ["masquerade"])
    assert (tmp_path / "data").is_dir() and image.arguments["TORCH"] == defaults()["TORCH"]
    with pytest.raises(SystemExit, match="HEALTHCHECK is a step that this script does not know"):
        image.take("HEALTHCHECK", "NONE")
    with pytest.raises(SystemExit, match="there is no stage tests"):
        CLEAN_ROOT["steps_of"](stages, "tests")
