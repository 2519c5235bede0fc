"""What the page asks for, over HTTP: pictures, people, choices, drawings, runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import av
import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from masquerade.cli.demo_clip import compose
from masquerade.regions.drawn import DRAWN_TRACKS
from masquerade.regions.following import Followed
from masquerade.storage import HELD, file_digest
from masquerade.studio import studio as studio_module
from masquerade.studio import video_session
from masquerade.studio.jobs import Job
from masquerade.studio.studio import Studio, plain_name
from masquerade.studio.video_session import VideoSession

Opened = Callable[..., dict[str, Any]]
Wait = Callable[..., Any]
PLACE = [10.0, 10.0, 60.0, 60.0]


def picture(page: TestClient, path: str) -> np.ndarray:
    answer = page.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg", answer.text
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)


def test_a_video_is_seen_and_each_level_hides_something_else(
    page: TestClient, opened: Opened, short_clip: Path
) -> None:
    video = opened(scanned=False)
    own = f"/api/videos/{video['id']}"
    with av.open(str(short_clip)) as file:
        frames = [one.to_ndarray(format="bgr24") for one in file.decode(video=0)]
    assert video["frames"] == len(frames) == video["frames_expected"]
    raw = picture(page, f"{own}/frames/9.jpg?view=raw")
    assert np.abs(raw.astype(int) - frames[9]).mean() < 4
    result = picture(page, f"{own}/frames/9.jpg?view=result")
    assert np.abs(result.astype(int) - raw).mean() > 4
    shown = {
        name: picture(page, f"{own}/levels/{name}.jpg?frame=9")
        for name in ("face", "person", "figure")
    }
    change = {name: np.abs(one.astype(int) - raw).mean() for name, one in shown.items()}
    assert 0 < change["face"] < change["person"]
    levels = {one["name"]: one for one in page.get("/api/about").json()["levels"]}
    assert set(levels) == set(shown) and all(one["measured"] for one in levels.values())
    assert page.get(f"{own}/frames/999.jpg").status_code == 422


@pytest.mark.slow
def test_faces_are_found_followed_and_left_visible(page: TestClient, opened: Opened) -> None:
    video = opened(regions="faces", method="blacken")
    own = f"/api/videos/{video['id']}"
    strip = page.get(f"{own}/strip").json()
    assert strip["done"] == video["frames"] == len(strip["found"]) and min(strip["found"]) >= 1
    (track,) = page.get(f"{own}/tracks").json()["tracks"]
    assert track["label"] == "face" and track["choice"] == "hidden"
    assert picture(page, f"{own}/tracks/{track['id']}.jpg").shape == (160, 160, 3)
    boxes = page.get(f"{own}/found?frame=5").json()["boxes"]
    x0, y0, x1, y1 = (round(x) for x in boxes[0]["box"])
    address = f"{own}/frames/5.jpg?view=result"
    assert picture(page, address)[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean() < 8
    after = page.put(f"{own}/tracks/{track['id']}", json={"choice": "visible"}).json()
    assert after["undo"].startswith("leave visible") and after["revision"] > video["revision"]
    assert page.get(f"{own}/found?frame=5").json()["boxes"][0]["hidden"] is False
    raw = picture(page, f"{own}/frames/5.jpg?view=raw")
    assert np.abs(picture(page, address).astype(int) - raw).max() < 60
    back = page.post(f"{own}/undo").json()
    assert back["undo"] and back["redo"] == after["undo"]
    assert picture(page, address)[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean() < 8
    page.put(f"{own}/tracks/{track['id']}", json={"method": "mask-mean"})
    assert page.get(f"{own}/tracks").json()["tracks"][0]["method"] == "mask-mean"
    assert picture(page, address)[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean() > 8
    assert page.get(f"{own}/tracks").json()["choosable"] is True
    page.put(f"{own}/tracks/{track['id']}", json={"choice": "visible"})
    after = page.put(f"{own}/settings", json={"level": "figure"}).json()
    assert "everybody is hidden" in after["notice"] and after["visible"] == []
    assert page.get(f"{own}/tracks").json()["choosable"] is False
    back = page.post(f"{own}/undo").json()
    assert back["visible"] == [track["id"]]  # as the notice says
    assert page.put(f"{own}/settings", json={"feather": 0.2}).json()["notice"] is None


@pytest.mark.slow
def test_what_is_drawn_is_followed_corrected_and_removed(page: TestClient, opened: Opened) -> None:
    video = opened(scanned=False, regions="faces", method="blacken")
    own = f"/api/videos/{video['id']}"
    last = video["frames"] - 1
    drawn = page.post(f"{own}/drawn", json={"frame": 4, "box": PLACE}).json()["drawn"]
    assert [one["id"] for one in drawn] == [str(DRAWN_TRACKS)]
    assert drawn[0]["first"] == 0 and drawn[0]["last"] == last  # nothing moves in a corner
    x0, y0, x1, y1 = map(round, PLACE)
    for frame in (0, last):
        dark = picture(page, f"{own}/frames/{frame}.jpg?view=result")
        assert dark[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean() < 8
    moved = {"frame": 7, "box": [60.0, 10.0, 110.0, 60.0]}
    (one,) = page.put(f"{own}/drawn/{DRAWN_TRACKS}", json=moved).json()["drawn"]
    assert one["keys"] == [4, 7]
    dark = picture(page, f"{own}/frames/{last}.jpg?view=result")
    assert dark[14:56, 64:106].mean() < 8 < dark[14:56, 14:56].mean()
    assert picture(page, f"{own}/frames/3.jpg?view=result")[14:56, 14:56].mean() < 8
    assert page.delete(f"{own}/drawn/{DRAWN_TRACKS}").json()["drawn"] == []
    for wrong in ([5.0, 5.0, 5.5, 5.5], [-50.0, 0.0, -10.0, 20.0], [20.0, 20.0, 10.0, 10.0]):
        answer = page.post(f"{own}/drawn", json={"frame": 1, "box": wrong})
        assert answer.status_code == 422 and answer.json()["error"].endswith(".")
    assert page.delete(f"{own}/drawn/3").status_code == 422


@pytest.mark.slow
def test_decisions_outlive_the_page(
    page: TestClient, opened: Opened, studio: Studio, tmp_path: Path
) -> None:
    """The same video finds what was decided about it before, also after a crash."""
    video = opened(scanned=False, level="face")
    own = f"/api/videos/{video['id']}"
    page.post(f"{own}/drawn", json={"frame": 3, "box": PLACE})
    text = page.get(f"{own}/edits.json").text
    again = opened(scanned=False)
    assert again["settings"]["level"] == "face" and len(again["drawn"]) == 1
    assert [line["what"] for line in again["log"]][-1].startswith("draw")
    (kept,) = (tmp_path / "state" / "edits").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.read_text() == text
    page.delete(f"/api/videos/{again['id']}/drawn/{DRAWN_TRACKS}")
    taken = page.put(f"/api/videos/{again['id']}/edits", content=text)
    assert len(taken.json()["drawn"]) == 1
    other = json.loads(text)
    other["source"]["sha256"] = "0" * 64
    refused = page.put(f"/api/videos/{again['id']}/edits", content=json.dumps(other))
    assert refused.status_code == 422 and "another video" in refused.json()["error"]
    assert page.put(f"/api/videos/{again['id']}/edits", content="{").status_code == 422


@pytest.mark.slow
def test_choices_are_forgotten_where_people_are_numbered_anew(
    page: TestClient, opened: Opened, tmp_path: Path, wait: Wait
) -> None:
    video = opened(regions="faces", method="blacken")
    own = f"/api/videos/{video['id']}"
    track = page.get(f"{own}/tracks").json()["tracks"][0]["id"]
    assert page.put(f"{own}/tracks/{track}", json={"choice": "visible"}).json()["visible"]
    (kept,) = (tmp_path / "state" / "edits").iterdir()
    old = json.loads(kept.read_text())
    assert old["numbered_by"]
    kept.write_text(json.dumps({**old, "numbered_by": "an older detector's"}))
    again = Studio(state=tmp_path / "state", root=tmp_path / "ward")
    try:
        other = again.open("night/one.mp4")
        assert other.edits.visible
        wait(lambda: other.notice, bool)
        assert not other.edits.visible and "everybody is hidden" in str(other.notice)
    finally:
        again.close()


@pytest.mark.slow
def test_two_tabs_do_not_decide_for_each_other(page: TestClient, opened: Opened) -> None:
    one, two = (opened(scanned=False) for _ in range(2))
    assert one["id"] != two["id"]  # the same video, uploaded twice
    own = f"/api/videos/{one['id']}"
    seen = page.put(f"{own}/settings", json={"feather": 2}).json()["decisions"]
    assert page.get(f"/api/videos/{two['id']}").json()["settings"]["feather"] == 2
    page.put(f"/api/videos/{two['id']}/settings", json={"feather": 3})
    for path in ("undo", "redo", "jobs"):
        answer = page.post(f"{own}/{path}?seen={seen}", json={"kind": "anonymize"})
        assert answer.status_code == 409 and "another tab" in answer.json()["error"]
    now = page.get(own).json()["decisions"]
    assert page.post(f"{own}/undo?seen={now}").json()["settings"]["feather"] == 2


@pytest.mark.slow
def test_a_number_of_an_older_page_decides_nothing(page: TestClient, opened: Opened) -> None:
    """It may be somebody else's by now, and a removed region's number is nobody else's ever."""
    video = opened(scanned=False, regions="faces", method="blacken")
    own = f"/api/videos/{video['id']}"
    old = page.post(f"{own}/drawn", json={"frame": 4, "box": PLACE}).json()
    (first,) = old["drawn"]
    page.delete(f"{own}/drawn/{first['id']}?seen={old['decisions']}")
    now = page.post(f"{own}/drawn", json={"frame": 8, "box": PLACE}).json()
    (second,) = now["drawn"]
    assert second["id"] != first["id"]
    for method, path, body in (
        ("PUT", f"tracks/{second['id']}", {"method": "blur"}),
        ("POST", "tracks/join", {"ids": [1, 2]}),
        ("POST", "tracks/split", {"id": 1}),
        ("PUT", f"drawn/{second['id']}", {"frame": 6, "box": PLACE}),
        ("DELETE", f"drawn/{first['id']}", None),
        ("DELETE", f"drawn/{second['id']}", None),
    ):
        answer = page.request(method, f"{own}/{path}?seen={old['decisions']}", json=body)
        assert answer.status_code == 409 and "another tab" in answer.json()["error"], path
    assert page.get(own).json()["decisions"] == now["decisions"]
    seen = f"seen={now['decisions']}"
    after = page.put(f"{own}/tracks/{second['id']}?{seen}", json={"method": "blur"}).json()
    assert after["decisions"] > now["decisions"]
    assert (
        page.delete(f"{own}/drawn/{second['id']}?seen={after['decisions']}").json()["drawn"] == []
    )
    assert page.post(f"{own}/undo").json()["drawn"]


@pytest.mark.slow
def test_a_second_studio_leaves_the_jobs_of_the_first(
    page: TestClient, opened: Opened, wait: Wait, tmp_path: Path
) -> None:
    video = opened(scanned=False, regions="frame", method="blur")
    page.post(f"/api/videos/{video['id']}/jobs", json={"kind": "anonymize"})
    Studio(state=tmp_path / "state").close()
    wait(lambda: page.get("/api/jobs").json()[-1], lambda job: job["state"] == "done")


@pytest.mark.slow
def test_a_run_gives_what_was_decided_and_its_receipt(
    page: TestClient, opened: Opened, wait: Wait, tmp_path: Path
) -> None:
    video = opened(regions="faces", method="blacken")
    own = f"/api/videos/{video['id']}"
    page.post(f"{own}/drawn", json={"frame": 3, "box": PLACE})
    job = page.post(f"{own}/jobs", json={"kind": "anonymize"}).json()

    def ended() -> Any:
        found = page.get("/api/jobs").json()[-1]
        return found if found["state"] not in ("waiting", "running") else None

    done = wait(ended, bool)
    assert done["state"] == "done" and done["id"] == job["id"], done
    assert any("hidden by blacken" in line for line in done["summary"])
    out = tmp_path / "result.mp4"
    out.write_bytes(page.get(done["files"]["result"]).content)
    with av.open(str(out)) as file:
        frames = [one.to_ndarray(format="rgb24") for one in file.decode(video=0)]
    assert len(frames) == video["frames"]
    assert all(frame[14:56, 14:56].mean() < 8 for frame in frames)
    receipt = page.get(done["files"]["receipt"]).json()
    assert receipt["settings"]["edits"] and receipt["source"]["frames"] == len(frames)
    assert page.delete(f"/api/jobs/{done['id']}").status_code == 204
    assert page.get("/api/jobs").json() == [] == list((tmp_path / "state" / "jobs").iterdir())


@pytest.mark.slow
def test_an_attack_looks_at_a_result(page: TestClient, root: Path, wait: Wait) -> None:
    compose(root / "two_frames.mp4", seconds=0.08)  # all attacks try many ways on every frame
    video = page.post("/api/videos/open", json={"path": "two_frames.mp4"}).json()
    page.put(f"/api/videos/{video['id']}/settings", json={"regions": "faces", "method": "blacken"})
    own = f"/api/videos/{video['id']}/jobs"
    page.post(own, json={"kind": "anonymize"})

    def ended() -> Any:
        found = page.get("/api/jobs").json()[-1]
        return found if found["state"] not in ("waiting", "running") else None

    done = wait(ended, bool)
    page.post(own, json={"kind": "attack", "job": done["id"]})
    attacked = wait(ended, bool, 400)
    assert attacked["state"] == "done" and attacked["summary"], attacked
    assert attacked["exit_code"] in (0, 4)
    answer = page.get(attacked["files"]["page"])
    assert "sandbox" in answer.headers["content-security-policy"] and "<html" in answer.text
    refused = page.post(own, json={"kind": "attack", "job": attacked["id"]})
    assert refused.status_code == 422 and "no result" in refused.json()["error"]


@pytest.mark.slow
def test_a_finished_job_outlives_a_restart_and_a_cancelled_one_leaves_nothing(
    page: TestClient, opened: Opened, wait: Wait, tmp_path: Path
) -> None:
    video = opened(scanned=False, regions="frame", method="blur")
    own = f"/api/videos/{video['id']}/jobs"
    for _ in range(2):
        assert page.post(own, json={"kind": "anonymize"}).status_code == 201
    waiting = page.get("/api/jobs").json()[-1]
    refused = page.delete(f"/api/videos/{video['id']}")
    assert refused.status_code == 422 and "cancel" in refused.json()["error"]
    page.delete(f"/api/jobs/{waiting['id']}")
    done = wait(lambda: page.get("/api/jobs").json()[0], lambda job: job["state"] == "done")
    page.post(own, json={"kind": "anonymize"})
    running = page.get("/api/jobs").json()[-1]
    page.delete(f"/api/jobs/{running['id']}?cancel=true")
    page.delete(f"/api/jobs/{done['id']}?cancel=true")  # as where it ended just before: it stays
    again = Studio(state=tmp_path / "state", root=tmp_path / "ward")
    try:
        (kept,) = again.jobs.all()
        assert kept.id == done["id"] and again.result(kept.id).stat().st_size > 1000
        assert kept.video is None
        video = again.open("night/one.mp4")
        assert kept.video == video.id  # known by its content, so that it can be attacked
        shutil.copy(tmp_path / "ward" / "night" / "one.mp4", tmp_path / "ward" / "two.mp4")
        same = again.open("two.mp4")
        again.forget(video.id)
        assert kept.video == same.id
        again.forget(same.id)
        assert kept.video is None
    finally:
        again.close()
    left = [path.name for path in (tmp_path / "state" / "jobs").iterdir()]
    assert left == [done["id"]]


@pytest.mark.slow
def test_a_run_that_fails_says_why(page: TestClient, opened: Opened, wait: Wait) -> None:
    video = opened(scanned=False, regions="text", method="blur", threshold=1.0)
    page.post(f"/api/videos/{video['id']}/jobs", json={"kind": "anonymize"})
    failed = wait(lambda: page.get("/api/jobs").json()[-1], lambda job: job["state"] == "failed")
    assert failed["exit_code"] == 4 and "nothing to hide was found" in failed["error"].lower()
    allowed = {"kind": "anonymize", "allow_empty": True}
    page.post(f"/api/videos/{video['id']}/jobs", json=allowed)
    wait(lambda: page.get("/api/jobs").json()[-1], lambda job: job["state"] == "done")


@pytest.mark.slow
def test_a_file_that_replaced_an_open_one_is_opened_anew(page: TestClient, root: Path) -> None:
    """It went on with what had been there."""
    before = page.post("/api/videos/open", json={"path": "night/one.mp4"}).json()
    compose(root / "new.mp4", seconds=1)
    (root / "new.mp4").replace(root / "night" / "one.mp4")
    video = page.post("/api/videos/open", json={"path": "night/one.mp4"}).json()
    again = page.post("/api/videos/open", json={"path": "night/one.mp4"}).json()
    assert video["id"] != before["id"] and again["id"] == video["id"]


def test_only_what_lies_under_the_root_is_opened(
    page: TestClient, root: Path, tmp_path: Path, wait: Wait
) -> None:
    listed = page.get("/api/root").json()
    assert listed["folders"] == ["night"] and listed["videos"] == []  # the link leads out
    assert page.get("/api/root?path=night").json()["videos"][0]["name"] == "one.mp4"
    away = ["../secret.mp4", "link.mp4", str(tmp_path / "secret.mp4"), "..", "night/../../x", "\0"]
    away += ["x" * 300, "night/one.mp4/x"]
    for place in away:
        answer = page.post("/api/videos/open", json={"path": place})
        assert answer.status_code == 422 and str(tmp_path) not in answer.text, place
        assert page.get("/api/root", params={"path": place}).status_code == 422
    video = page.post("/api/videos/open", json={"path": "night/one.mp4"}).json()
    assert page.post("/api/videos/open", json={"path": "night/one.mp4"}).json()["id"] == video["id"]
    own = f"/api/videos/{video['id']}"
    page.put(f"{own}/settings", json={"regions": "frame", "method": "blur"})
    page.post(f"{own}/jobs", json={"kind": "anonymize"})
    done = wait(lambda: page.get("/api/jobs").json()[-1], lambda job: job["state"] == "done")
    assert done["files"]["saved"] == "night/one_anonymized.mp4"
    assert (root / "night" / "one_anonymized.mp4").exists()
    assert page.delete(own).status_code == 204 and (root / "night" / "one.mp4").exists()


@pytest.mark.slow
def test_a_folder_of_odd_names_is_listed_and_opened(
    page: TestClient, root: Path, wait: Wait
) -> None:
    """One name that is not UTF-8, or a link to itself, ended the list of the whole folder."""
    odd = root / os.fsdecode(b"h\xf4tel")
    odd.mkdir()
    shutil.copy(root / "night" / "one.mp4", odd / os.fsdecode(b"n\xe9.mp4"))
    (root / "loop").symlink_to("loop")
    assert page.get("/api/root").json()["folders"] == ["h\\udcf4tel", "night"]
    listed = page.get("/api/root", params={"path": "h\\udcf4tel"}).json()
    assert listed["path"] == "h\\udcf4tel"
    assert [one["name"] for one in listed["videos"]] == ["n\\udce9.mp4"]
    video = page.post("/api/videos/open", json={"path": "h\\udcf4tel/n\\udce9.mp4"}).json()
    assert video["name"] == "n\\udce9.mp4"
    own = f"/api/videos/{video['id']}"
    page.put(f"{own}/settings", json={"regions": "frame", "method": "blacken"})
    page.post(f"{own}/jobs", json={"kind": "anonymize"})
    done = wait(lambda: page.get("/api/jobs").json()[-1], lambda job: job["state"] == "done")
    assert done["files"]["saved"] == "h\\udcf4tel/n\\udce9_anonymized.mp4"
    assert (odd / "n\\udce9_anonymized.mp4").exists()
    assert page.get(done["files"]["result"]).status_code == 200
    for place in ("..\\udce9", "../\\udce9", "night/\\udce9.mp4", "loop"):
        assert page.post("/api/videos/open", json={"path": place}).status_code == 422


def test_edits_of_a_video_of_any_name_are_given_as_a_file(page: TestClient, root: Path) -> None:
    """A name with a line end ended the connection without an answer."""
    name = 'one\r\nset-cookie: a=b; "\u65e5"'
    shutil.copy(root / "night" / "one.mp4", root / f"{name}.mp4")
    video = page.post("/api/videos/open", json={"path": f"{name}.mp4"}).json()
    answer = page.get(f"/api/videos/{video['id']}/edits.json")
    assert answer.status_code == 200 and answer.json()["source"]["name"] == f"{name}.mp4"
    given = answer.headers["content-disposition"]
    assert given.isascii() and given.isprintable() and "set-cookie" not in answer.headers
    assert unquote(given.partition("utf-8''")[2]) == f"{name}.edits.json"


@pytest.mark.slow
def test_a_long_name_leaves_room_for_the_endings_of_the_result(
    page: TestClient, short_clip: Path, wait: Wait
) -> None:
    """120 letters that take three bytes each, as a name in Japanese has them."""
    name = "\u65e5" * 116 + ".mp4"
    video = page.post("/api/videos", params={"name": name}, content=short_clip.read_bytes()).json()
    assert video["name"] == name
    own = f"/api/videos/{video['id']}"
    page.put(f"{own}/settings", json={"regions": "frame", "method": "blacken"})
    page.post(f"{own}/jobs", json={"kind": "anonymize"})
    ended = ("done", "failed")
    job = wait(lambda: page.get("/api/jobs").json()[-1], lambda job: job["state"] in ended)
    assert job["state"] == "done", job["error"]


def test_a_report_of_a_benchmark_is_opened_apart_from_the_page(
    page: TestClient, root: Path
) -> None:
    """As `masquerade benchmark` writes it: with no results.json beside it."""
    charts = root / "bench" / "charts"
    charts.mkdir(parents=True)
    (charts / "leak.svg").write_text("<svg/>")
    (root / "bench" / "table.csv").write_text("a,b")
    (root / "bench" / "index.html").write_text("<html>my own")
    reports = page.get("/api/about").json()["reports"]
    assert page.get("/api/root?path=bench").json()["reports"] == []
    assert page.get(f"{reports}bench/index.html").status_code == 422
    text = (
        '<meta name="generator" content="masquerade"><a href="charts/leak.svg">leak</a>'
        '<a href="../notes.txt">notes</a> <a href="https://a.org/x">x</a>'
    )
    (root / "bench" / "index.html").write_text(text)
    assert page.get("/api/root?path=bench").json()["reports"] == ["index.html"]
    page.cookies.clear()  # what the report links to is asked for from a page apart
    answer = page.get(f"{reports}bench/index.html")
    assert answer.text == text
    policy = answer.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy and "same-origin" not in policy
    assert page.get(f"{reports}bench/charts/leak.svg").text == "<svg/>"
    for place in ("night/one.mp4", "bench/table.csv", "notes.txt", "../secret.mp4", "bench"):
        assert page.get(f"{reports}{quote(place, safe='')}").status_code == 422
    assert page.get("/api/reports/guessed/bench/index.html").status_code == 401
    assert page.get("/api/about").status_code == 401


def test_a_file_that_is_opened_twice_at_once_is_one_video(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a double click: while the first digest is made, nothing was known of it."""
    others: list[Future[VideoSession]] = []
    with ThreadPoolExecutor(1) as pool:

        def digest(path: Path) -> str:
            if not others:
                others.append(pool.submit(studio.open, "night/one.mp4"))
                wait_for(others, timeout=0.5)
            return file_digest(path)

        monkeypatch.setattr("masquerade.studio.studio.file_digest", digest)
        first = studio.open("night/one.mp4")
        assert others[0].result() is first
    assert studio.videos() == [first]


def test_runs_that_are_asked_for_at_once_have_names_of_their_own(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = studio.open("night/one.mp4")
    monkeypatch.setattr("masquerade.studio.jobs.Jobs._next", lambda jobs: None)  # nothing runs
    free, others = studio_module._free, list[Future[Job]]()
    with ThreadPoolExecutor(1) as pool:

        def ask() -> Job:
            return studio.anonymize(video.id, allow_empty=False, allow_gaps=False)

        def naming(*given: Any) -> Path:
            named = free(*given)
            if not others:
                others.append(pool.submit(ask))
                wait_for(others, timeout=0.5)
            return named

        monkeypatch.setattr(studio_module, "_free", naming)
        jobs = [ask(), others[0].result()]
    assert len({job.saved for job in jobs}) == 2


def test_no_video_is_sent_where_none_can_be_opened(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio_module, "MOST_OPEN", 0)
    sent: list[bytes] = []

    def parts() -> Iterator[bytes]:
        for _ in range(40):
            sent.append(b"x" * 2**16)
            yield sent[-1]

    refused = page.post("/api/videos?name=a.mp4", content=parts())
    assert "close one first" in refused.json()["error"]
    refused = page.post("/api/videos/open", json={"path": "night/one.mp4"})
    assert "close one first" in refused.json()["error"]


def test_a_search_that_failed_is_begun_again(
    page: TestClient, studio: Studio, opened: Opened, wait: Wait
) -> None:
    own = f"/api/videos/{opened(regions='frame', method='blacken')['id']}"
    failed = studio.video(own.rpartition("/")[2]).scan()
    failed.fail("it was killed.")
    assert page.get(own).json()["scan"]["state"] == "failed"
    assert page.post(f"{own}/search").json()["scan"]["state"] != "failed"
    wait(lambda: page.get(own).json()["scan"]["state"], lambda state: state == "done")
    assert page.post(f"{own}/search").json()["scan"]["state"] == "done"


@pytest.mark.parametrize(
    ("name", "content"), [("a.mp4", b""), ("a.mp4", b"no video" * 99), ("../../../x_1", b"\0" * 9)]
)
def test_what_is_no_video_is_refused_and_leaves_nothing(
    page: TestClient, studio: Studio, name: str, content: bytes
) -> None:
    answer = page.post("/api/videos", params={"name": name}, content=content)
    assert answer.status_code == 422 and answer.json()["error"].endswith(".")
    assert answer.json()["error"].startswith(f"{plain_name(name)} is ")
    assert "/tmp" not in answer.text.replace("/tmp/pytest", "/tmp")
    assert page.get("/api/videos").json() == []
    assert [path.name for path in studio._temporary.path.iterdir()] == [HELD]


@pytest.mark.slow
def test_settings_that_no_run_would_do_change_nothing(page: TestClient, opened: Opened) -> None:
    video = opened(scanned=False)
    own = f"/api/videos/{video['id']}"
    wrongs: tuple[dict[str, Any], ...] = (
        {"method": "magic"},
        {"method": "stprivacy"},
        {"level": "all"},
        {"regions": "magic"},
        {"regions": "boxes:/etc/passwd"},
        {"regions": "parts"},
        {"regions": "parts:"},
        {"regions": "parts:head,nope"},
        {"regions": "parts+faces"},
        {"regions": "templates"},
        {"regions": "templates:"},
        {"regions": "templates+faces"},
        {"regions": "templates:nope"},
        {"regions": "faces+templates:nope,"},
        {"threshold": 7},
        {"mask_scale": 0.1},
        {"unknown": 1},
        {"arguments": {"unknown": 1}},
    )
    for wrong in wrongs:
        answer = page.put(f"{own}/settings", json=wrong)
        assert answer.status_code in (422, 503) and answer.json()["error"].endswith("."), wrong
        assert page.get(own).json()["settings"] == video["settings"], wrong
    answer = page.put(f"{own}/templates/nope", json={"on": True})
    assert answer.status_code == 422 and "no template 'nope'" in answer.json()["error"]
    after = page.get(own).json()
    assert (after["log"], after["templates"]) == (video["log"], video["templates"])
    assert page.put(f"{own}/settings", json={"regions": "parts:head,eyes"}).status_code == 200


def test_a_fault_of_the_code_is_not_told_as_a_closed_video(
    page: TestClient, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty() -> list[video_session.VideoSession]:
        raise KeyError("none")

    monkeypatch.setattr(studio, "videos", faulty)
    assert page.get("/api/videos").status_code == 500


def test_a_video_that_is_not_there_is_said(page: TestClient) -> None:
    for path in ("", "/strip", "/tracks", "/frames/0.jpg", "/edits.json"):
        answer = page.get(f"/api/videos/none{path}")
        assert answer.status_code == 404
        assert answer.json()["error"] == "There is no such video; it may have been closed."
    assert page.delete("/api/videos/none").status_code == 404
    assert page.delete("/api/jobs/none").status_code == 422


@pytest.mark.parametrize(
    ("given", "plain"),
    [("a.mp4", "a.mp4"), ("../../x.mp4", "x.mp4"), ("C:\\v\\y.mov", "y.mov"), ("..", "video")],
)
def test_names_lead_nowhere(given: str, plain: str) -> None:
    assert plain_name(given) == plain
    assert plain_name(given + "\n\x1b") == plain + "__" or plain == "video"


@pytest.mark.slow
@pytest.mark.parametrize(("reached", "told"), [(9, []), (7, ["behind frame 7: it was lost."])])
def test_a_region_that_reaches_the_end_is_not_lost(
    page: TestClient, opened: Opened, monkeypatch: pytest.MonkeyPatch, reached: int, told: list[str]
) -> None:
    """It stays some frames longer than it can be told apart, and may be hidden to the end so."""
    video = opened(scanned=False, regions="faces", method="blacken")
    box, start = (10.0, 10.0, 60.0, 60.0), 5
    assert video["frames"] == 10

    def follow(pictures: Any, _: Any) -> Followed:
        forward = len(list(pictures)) == 10 - start
        return Followed([box] * (reached - start if forward else start), "it was lost")

    monkeypatch.setattr(video_session, "follow", follow)
    body = {"frame": start, "box": box}
    (region,) = page.post(f"/api/videos/{video['id']}/drawn", json=body).json()["drawn"]
    assert (region["first"], region["last"], region["lost"]) == (0, reached, told)


@pytest.mark.slow
def test_it_is_said_where_nobody_has_a_number(page: TestClient, opened: Opened) -> None:
    """As where text is looked for first: a face is found and hidden, and nobody can be chosen."""
    video = opened(scanned=False, regions="faces+hands", method="blacken")
    own = f"/api/videos/{video['id']}"
    assert page.get(f"{own}/tracks").json()["listed"] is True
    assert page.put(f"{own}/settings", json={"regions": "hands+faces"}).status_code == 200
    assert page.get(f"{own}/tracks").json()["listed"] is False
