"""The camera in a real page: Chromium's fake camera plays a file, and the page shows it hidden."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import chromium, new_page, running_studio

pytestmark = pytest.mark.slow
LONG = 60_000  # milliseconds
SENDING = "body[data-sending]"
SHOWN = "[data-testid=camera-picture][data-frame]"


@pytest.fixture(scope="module")
def filmed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake camera plays again and again: a face."""
    path = tmp_path_factory.mktemp("camera") / "face.y4m"
    words = ["ffmpeg", "-v", "error", "-i", clip, "-an", "-pix_fmt", "yuv420p", path]
    subprocess.run(words, check=True)
    return path


@pytest.fixture(scope="module")
def browser(filmed: Path) -> Iterator[Any]:
    camera = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with chromium(*camera, f"--use-file-for-fake-video-capture={filmed}") as found:
        yield found


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running_studio(tmp_path / "state") as found:
        yield found


def picture(page: Any) -> np.ndarray:
    """What the canvas shows, (h, w, 3)."""
    canvas = "document.querySelector('#camera-picture')"
    png = page.evaluate(f"{canvas}.toDataURL('image/png')").split(",")[1]
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_UNCHANGED)
    return decoded[..., 2::-1]


def test_the_camera_is_shown_hidden_with_its_latency(
    browser: Any, address: str, clip: Path
) -> None:
    complaints: list[str] = []
    page = new_page(browser, address, complaints)
    page.click("[data-testid=use-camera]")
    page.check("input[name=camera-level][value=face]")
    page.wait_for_selector(SHOWN, timeout=LONG)
    page.wait_for_selector("[data-testid=camera-latency]:text('ms behind')", timeout=LONG)
    words = page.text_content("[data-testid=camera-latency]")
    assert re.match(r"\d+ ms behind, [\d.]+ pictures a second", words)
    shown = picture(page)
    assert shown.shape == (480, 640, 3)
    # the portrait moves slowly: its face lies in this place in every frame
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", clip, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        check=True,
        capture_output=True,
    ).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, 480, 640, 3).astype(int)
    faces = frames[:, 110:190, 290:350]
    nearest = np.abs(faces - shown[110:190, 290:350]).mean(axis=(1, 2, 3)).min()
    assert nearest > 20, "no frame's face is seen"
    assert page.evaluate("document.querySelectorAll('video').length") == 0

    page.click("[data-testid=camera-stop]")
    page.wait_for_selector(f"{SHOWN}", state="detached", timeout=LONG)
    assert not picture(page).any(), "nothing stays"
    page.click("[data-testid=camera-stop]")
    page.wait_for_selector(SHOWN, timeout=LONG)
    page.keyboard.press("Escape")
    page.wait_for_selector("#start:not([hidden])", timeout=LONG)
    page.close()
    assert not complaints


def test_a_picture_on_its_way_is_answered_before_the_camera_ends(
    browser: Any, address: str
) -> None:
    complaints: list[str] = []
    page = new_page(browser, address, complaints)
    page.evaluate(
        """() => {
            const ask = window.fetch;
            const said = document.body.dataset;
            window.held = true;
            window.fetch = async (url, ...rest) => {
                if (!/\\/api\\/camera(\\/.*frames)?$/.test(url)) return ask(url, ...rest);
                said.sending = "yes";
                while (window.held) await new Promise((resolve) => setTimeout(resolve, 20));
                delete said.sending;
                return ask(url, ...rest);
            };
        }"""
    )
    page.click("[data-testid=use-camera]")
    page.wait_for_selector(SENDING, timeout=LONG)
    page.check("input[name=camera-level][value=face]")  # while the first session is begun
    page.evaluate("window.held = false")
    page.wait_for_selector(SHOWN, timeout=LONG)
    page.evaluate("window.held = true")
    page.wait_for_selector(SENDING, timeout=LONG)
    page.click("[data-testid=camera-stop]")
    page.wait_for_selector(SHOWN, state="detached", timeout=LONG)
    page.evaluate("window.held = false")
    page.click("[data-testid=camera-stop]")
    page.wait_for_selector(SHOWN, timeout=LONG)
    page.close()
    assert not complaints


def test_the_camera_waits_for_the_levels_that_the_server_names(browser: Any, address: str) -> None:
    complaints: list[str] = []
    page = new_page(browser, address, complaints)
    held: list[Any] = []
    page.route("**/api/about", lambda route: held.append(route), times=1)
    page.reload()
    page.wait_for_selector("[data-testid=use-camera]:disabled", timeout=LONG)
    while not held:
        page.wait_for_timeout(20)
    held.pop().continue_()
    page.click("[data-testid=use-camera]")  # once it can be
    page.check("input[name=camera-level][value=face]")
    page.wait_for_selector(SHOWN, timeout=LONG)
    page.close()
    assert not complaints


def test_a_page_without_a_camera_says_so(browser: Any, address: str) -> None:
    complaints: list[str] = []
    page = new_page(browser, address, complaints)
    page.evaluate(
        """() => {
            const none = new DOMException("none", "NotFoundError");
            navigator.mediaDevices.getUserMedia = () => Promise.reject(none);
        }"""
    )
    page.click("[data-testid=use-camera]")
    page.wait_for_selector("[data-testid=alert]:not([hidden])", timeout=LONG)
    assert page.text_content("#alert-text") == "There is no camera."
    assert page.text_content("#camera-stop") == "Start the camera"
    page.close()
    assert not complaints


def test_the_camera_goes_on_while_a_video_is_open(browser: Any, address: str, clip: Path) -> None:
    """It ended at the next question of every while about the video."""
    complaints: list[str] = []
    page = new_page(browser, address, complaints)
    page.set_input_files("#upload", str(clip))
    page.wait_for_selector("#viewer[data-frame]", timeout=LONG)
    page.click("#open-another")
    page.click("[data-testid=use-camera]")
    page.wait_for_selector(SHOWN, timeout=LONG)
    with page.expect_response(re.compile(r"/api/videos/\w+$"), timeout=LONG):
        pass
    page.wait_for_timeout(500)
    assert page.locator(SHOWN).count() == 1
    page.close()
    assert not complaints


def test_the_camera_is_not_switched_on_after_it_was_left(browser: Any, address: str) -> None:
    """As where it was to begin anew once an earlier picture was answered."""
    complaints: list[str] = []
    page = new_page(browser, address, complaints)
    page.evaluate(
        """() => {
            const devices = navigator.mediaDevices;
            const open = devices.getUserMedia.bind(devices);
            window.opened = 0;
            devices.getUserMedia = (wanted) => {
                window.opened += 1;
                return open(wanted);
            };
        }"""
    )
    page.click("[data-testid=use-camera]")
    page.wait_for_selector(SHOWN, timeout=LONG)
    held: list[Any] = []
    page.route("**/frames", lambda route: held.append(route))
    while not held:
        page.wait_for_timeout(20)
    page.check("input[name=camera-level][value=face]")
    page.keyboard.press("Escape")
    for route in held:
        route.continue_()
    page.wait_for_timeout(1000)
    assert page.evaluate("window.opened") == 1
    page.close()
    assert not complaints


def test_a_camera_that_is_unplugged_leaves_no_picture(browser: Any, address: str) -> None:
    complaints: list[str] = []
    page = new_page(browser, address, complaints)
    page.evaluate(
        """() => {
            const devices = navigator.mediaDevices;
            const open = devices.getUserMedia.bind(devices);
            devices.getUserMedia = async (wanted) => (window.stream = await open(wanted));
        }"""
    )
    page.click("[data-testid=use-camera]")
    page.wait_for_selector(SHOWN, timeout=LONG)
    page.evaluate("window.stream.getTracks()[0].dispatchEvent(new Event('ended'))")
    page.wait_for_selector(SHOWN, state="detached", timeout=LONG)
    assert "no more pictures" in page.inner_text("#alert-text")
    assert not picture(page).any()
    page.close()
    assert not complaints
