"""Parts that are pointed at, by keys of a network: one kind for map, library, preview and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="the studio's packages are not installed")
from starlette.testclient import TestClient

from masquerade.errors import MissingError, UsageError
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.edits import Edits
from masquerade.regions.key_extractors import NETWORKS
from masquerade.regions.template_library import Library
from masquerade.studio import job_process
from masquerade.studio.jobs import Jobs
from masquerade.studio.server import create_app
from masquerade.studio.studio import Studio
from masquerade.studio.template_keys import TemplateKeys

KIND = "dino-s16"
POINT = (360, 200)
BESIDE = {"frame": 0, "x": 40, "y": 40, "keys": "colour-hog"}


@pytest.fixture(autouse=True)
def _own_library_and_no_fetched_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "templates"))
    monkeypatch.setenv("MASQUERADE_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published networks, narrower and shallower."""
    for name, kind in list(NETWORKS.items()):
        monkeypatch.setitem(NETWORKS, name, replace(kind, width=24, depth=2, heads=3))


def weights(file: Path, kind: str = KIND, seed: int = 3) -> Path:
    """Random weights of a network, in the published names."""
    torch.manual_seed(seed)
    names = NETWORKS[kind].build(NETWORKS[kind].stride).state_dict()
    torch.save({name: torch.randn(one.shape) * 0.2 for name, one in names.items()}, file)
    return file


def test_kinds_without_weights_say_what_to_do(small: None, tmp_path: Path) -> None:
    plain = TemplateKeys()
    assert plain.first == "colour-hog" and plain.missing("colour-hog") is None
    for kind in NETWORKS:
        with pytest.raises(MissingError, match=f"--keys {kind} --key-weights FILE"):
            plain.extractor(kind)
    assert "templates fetch dinov2-s14" in str(plain.missing("dinov2-s14"))
    assert "fetch" not in str(plain.missing(KIND))  # its digest is not known, so it is not fetched
    here = TemplateKeys(first=KIND, weights=weights(tmp_path / "w.pth"))
    assert here.missing(KIND) is None and here.extractor(KIND).fingerprint.startswith(KIND)
    (tmp_path / "weights").mkdir()
    weights(tmp_path / "weights" / "dinov2_vits14_pretrain.pth", "dinov2-s14")
    assert plain.missing("dinov2-s14") is None


def test_wrong_weights_are_refused_before_the_page_is_there(small: None, tmp_path: Path) -> None:
    file = weights(tmp_path / "w.pth")
    with pytest.raises(UsageError, match="give its own"):
        TemplateKeys(first="dino-s8", weights=file)
    with pytest.raises(UsageError, match="name it with --keys"):
        TemplateKeys(weights=file)
    with pytest.raises(UsageError, match="no keys 'magic'"):
        TemplateKeys(first="magic")
    with pytest.raises(MissingError, match="needs its weights"):
        TemplateKeys(first=KIND)


@pytest.fixture
def keyed(
    root: Path, tmp_path: Path, wait: Callable[..., Any]
) -> Iterator[Callable[..., TestClient]]:
    """Clients of studios that were started with weights, each with a video open and read."""
    begun: list[Studio] = []

    def start(file: Path | None) -> TestClient:
        keys = TemplateKeys(first=KIND, weights=file) if file else TemplateKeys()
        state = tmp_path / f"state-{len(begun)}"
        studio = Studio(root=root, state=state, keys=keys)
        begun.append(studio)
        studio.open("night/one.mp4")
        page = TestClient(create_app(studio), raise_server_exceptions=False)
        wait(lambda: page.get(address(page)).json(), lambda video: video["state"] == "ready")
        return page

    yield start
    for studio in begun:
        studio.close()


def address(page: TestClient) -> str:
    return f"/api/videos/{page.get('/api/videos').json()[0]['id']}"


def point(page: TestClient, name: str, keys: str, own: str = "") -> Any:
    """Point in the first video, or in that of an address."""
    x, y = POINT
    body = {"frame": 0, "x": x, "y": y, "name": name, "keys": keys}
    return page.post(f"{own or address(page)}/templates", json=body)


def test_parts_of_different_keys_are_not_hidden_together(
    small: None, tmp_path: Path, keyed: Callable[..., TestClient]
) -> None:
    page = keyed(weights(tmp_path / "w.pth"))
    about = page.get("/api/about").json()["keys"]
    ready = [one["name"] for one in about["kinds"] if one["missing"] is None]
    assert about["first"] == KIND and ready == [KIND, "colour-hog"]
    made = point(page, "badge", KIND).json()["templates"]
    assert made == [{"id": "badge", "name": "badge", "on": True, "keys": KIND}]
    refused = point(page, "screen", "colour-hog")
    assert refused.status_code == 422 and "turn it off" in refused.json()["error"]
    assert Library().names() == ["badge"]  # nothing was added for nothing
    own = address(page)
    assert page.put(f"{own}/templates/badge", json={"on": False}).status_code == 200
    assert point(page, "screen", "colour-hog").status_code == 200
    refused = page.put(f"{own}/templates/badge", json={"on": True})
    assert refused.status_code == 422 and "badge with dino-s16" in refused.json()["error"]
    missing = point(page, "eye", "dino-s8")
    assert missing.status_code == 503 and "--key-weights" in missing.json()["error"]
    typed = page.put(f"{own}/settings", json={"regions": "faces+templates:badge"})
    assert typed.status_code == 200
    assert page.get(f"{own}/edits.json").json()["settings"]["keys"] == KIND
    page.put(f"{own}/settings", json={"regions": "faces"})
    assert "keys" not in page.get(f"{own}/edits.json").json()["settings"]


def test_a_part_of_other_weights_is_refused_and_not_compared(
    small: None, tmp_path: Path, keyed: Callable[..., TestClient]
) -> None:
    assert point(keyed(weights(tmp_path / "w.pth")), "badge", KIND).status_code == 200
    for page in (keyed(weights(tmp_path / "v.pth", seed=4)), keyed(None)):
        refused = page.put(f"{address(page)}/templates/badge", json={"on": True})
        assert refused.status_code in (422, 503), refused.text
        said = refused.json()["error"]
        assert "pick it again" in said or "--key-weights" in said
        heat = page.get(f"{address(page)}/heat.jpg", params={"template": "badge"})
        assert heat.status_code in (422, 503) and heat.json()["error"].endswith(".")


def test_a_part_that_was_removed_elsewhere_can_be_turned_off(
    keyed: Callable[..., TestClient],
) -> None:
    page = keyed(None)
    own = address(page)
    for name in ("badge", "screen", "watch"):
        assert point(page, name, "colour-hog").status_code == 200
    for name in ("badge", "screen"):
        Library().remove(name)
    assert page.put(f"{own}/settings", json={"feather": 2}).status_code == 200
    assert page.put(f"{own}/templates/badge", json={"on": False}).status_code == 200
    refused = page.put(f"{own}/templates/badge", json={"on": True})
    assert refused.status_code == 422 and "no template 'badge'" in refused.json()["error"]
    after = page.delete(f"{own}/templates/screen").json()
    assert page.delete(f"{own}/templates/screen").status_code == 503  # nobody knows of it
    assert [(one["name"], one["on"]) for one in after["templates"]] == [("watch", True)]


def test_a_second_thing_is_a_part_of_its_own(keyed: Callable[..., TestClient]) -> None:
    """Under the name of the first, or under none, it was no step, and Undo showed both."""
    page = keyed(None)
    own = address(page)

    def hidden() -> list[str]:
        return [one["name"] for one in page.get(own).json()["templates"] if one["on"]]

    assert page.post(f"{own}/templates", json=BESIDE).status_code == 200
    assert point(page, "", "colour-hog").status_code == 200
    assert hidden() == ["part", "part-2"]
    assert page.post(f"{own}/undo").status_code == 200
    assert hidden() == ["part"]
    assert point(page, "Значок", "colour-hog").status_code == 200
    assert hidden() == ["part", "part-3"]  # part-2 is in the library still
    refused = point(page, "Part", "colour-hog")
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("Part is hidden already; choose another name")
    assert len(Library().load("part").picks) == 1
    Library().remove("part")  # by another program: what is pointed at anew is in its place
    assert point(page, "part", "colour-hog").status_code == 200


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that wait for their turn."""
    monkeypatch.setattr(Jobs, "_next", lambda self: None)


def test_a_run_hides_what_was_pointed_at_when_it_was_asked_for(
    queued: None, keyed: Callable[..., TestClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = keyed(None)
    assert point(page, "badge", "colour-hog").status_code == 200
    asked = Library().load("badge").keys
    job = page.post(f"{address(page)}/jobs", json={"kind": "anonymize"}).json()
    Library().remove("badge")
    page.post(f"{address(page)}/templates", json={**BESIDE, "name": "badge"})
    assert not np.array_equal(Library().load("badge").keys, asked)
    own = tmp_path / "state-0" / "jobs" / job["id"]
    hidden: list[Any] = []

    def run_file(*given: Any, **named: Any) -> Any:
        hidden.append(Library().load("badge").keys)
        raise UsageError("this run ends here.")

    monkeypatch.setattr(job_process, "run_file", run_file)
    words = [str(own / "edits.json"), "one.mp4", "safe.mp4", "--templates", str(own / "templates")]
    with pytest.raises(UsageError, match="ends here"):
        job_process.anonymize(words)
    assert np.array_equal(hidden[0], asked)
    assert not (own / "templates").exists()  # what was pointed at is kept no longer than needed


def test_a_run_is_told_where_its_own_templates_are(
    queued: None, studio: Studio, wait: Callable[..., Any]
) -> None:
    video = studio.open("night/one.mp4")
    wait(lambda: video.pictures.done, bool)
    allowed = {"allow_empty": False, "allow_gaps": False}
    video.add_template(0, *POINT, "badge", "colour-hog")
    studio.anonymize(video.id, **allowed)
    video.set({"regions": "faces"})
    studio.anonymize(video.id, **allowed)
    (job, named), (_, plain) = studio.jobs._waiting
    assert named[-2:] == ["--templates", str(studio.jobs.folder(job) / "templates")]
    assert "--templates" not in plain


def test_frames_that_were_looked_at_are_of_the_same_templates(
    queued: None, studio: Studio, wait: Callable[..., Any]
) -> None:
    video = studio.open("night/one.mp4")
    wait(lambda: video.pictures.done, bool)
    video.add_template(0, *POINT, "badge", "colour-hog")
    job = studio.anonymize(video.id, allow_empty=False, allow_gaps=False)
    job.state, job.exit_code = "failed", 4
    again = {"allow_empty": False, "allow_gaps": True, "looked_at": [job.id]}
    studio.anonymize(video.id, **again)
    video.switch_template("badge", on=False)
    video.add_template(0, BESIDE["x"], BESIDE["y"], "badge", "colour-hog")
    with pytest.raises(UsageError, match="decided since that run"):
        studio.anonymize(video.id, **again)
    Library().remove("badge")
    with pytest.raises(MissingError, match="no template badge"):
        studio.anonymize(video.id, **again)


@pytest.mark.slow
def test_a_part_that_changes_in_one_video_is_looked_for_anew_in_the_others(
    keyed: Callable[..., TestClient], clip: Path, wait: Callable[..., Any]
) -> None:
    """Their revision had stayed, or fallen with the new search; pages kept what they had."""
    page = keyed(None)
    one = address(page)
    other = page.post("/api/videos?name=b.mp4", content=clip.read_bytes()).json()
    two = f"/api/videos/{other['id']}"
    wait(lambda: page.get(two).json(), lambda video: video["state"] == "ready")
    assert point(page, "badge", "colour-hog", one).status_code == 200
    page.put(f"{one}/settings", json={"regions": "templates:badge", "method": "blur"})

    def searched() -> dict[str, Any]:
        found: dict[str, Any] = wait(
            lambda: page.get(one).json(), lambda video: video["scan"]["state"] == "done"
        )
        return found

    before = searched()
    assert point(page, "badge", "colour-hog", two).status_code == 200
    assert page.get(one).json()["revision"] > before["revision"]
    changed, there = searched(), page.get(two).json()
    assert changed["settings"] == before["settings"] and changed["log"] == before["log"]
    assert point(page, "screen", "colour-hog", one).status_code == 200
    assert page.get(two).json()["decisions"] == there["decisions"]  # which names no screen
    before = page.get(one).json()
    assert page.delete(f"{two}/templates/badge").status_code == 200
    assert page.get(one).json()["decisions"] > before["decisions"]


@pytest.mark.slow
def test_map_preview_job_and_command_compare_by_the_same_network(
    tmp_path: Path, keyed: Callable[..., TestClient], wait: Callable[..., Any]
) -> None:
    """With the published shape, as processes of their own build it, and random weights."""
    file = weights(tmp_path / "w.pth")
    page = keyed(file)
    own = address(page)
    page.put(f"{own}/settings", json={"regions": "faces", "method": "blacken"})
    assert point(page, "badge", KIND).status_code == 200

    def picture(path: str) -> np.ndarray:
        answer = page.get(f"{own}/{path}")
        assert answer.status_code == 200, answer.text
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)

    x, y = POINT
    place = slice(y - 4, y + 5), slice(x - 4, x + 5)
    raw = picture("frames/0.jpg?view=raw")
    assert picture("frames/0.jpg?view=result")[place].mean() < 10 < raw[place].mean()
    assert np.abs(picture("heat.jpg?template=badge").astype(int) - raw).mean() > 5
    page.post(f"{own}/jobs", json={"kind": "anonymize", "allow_gaps": True})
    done = wait(
        lambda: page.get("/api/jobs").json()[-1],
        lambda job: job["state"] not in ("waiting", "running"),
        400,
    )
    assert done["state"] == "done", done
    receipt = page.get(done["files"]["receipt"]).json()
    used = {one["name"]: one["keys"] for one in receipt["regions"]}
    edits = tmp_path / "ward.edits.json"
    edits.write_bytes(page.get(f"{own}/edits.json").content)
    assert Edits.read(edits).settings["keys"] == KIND
    pipeline = build_pipeline(None, PipelineConfig(edits=edits, key_weights=file))
    assert used["templates"] == pipeline.regions.sources[-1].fingerprint
    assert used["templates"].startswith(KIND)
