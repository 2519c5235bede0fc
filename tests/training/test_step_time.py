"""How long a step of a training takes, as it is kept in its folder."""

from __future__ import annotations

from pathlib import Path

from masquerade.training.step_time import STEP_TIME, StepTime, StepTimer, read_step_time


def test_it_is_that_of_the_phase_without_its_first_step(tmp_path: Path) -> None:
    clock = [0.0]
    timer = StepTimer(folder=tmp_path, now=lambda: clock[0])
    # resumed at step 40, and the first steps of phases take long; time, phase and step
    for at, phase, done in ((90, "pretrain", 41), (92, "pretrain", 42), (94, "pretrain", 43)):
        clock[0] = at
        assert (read_step_time(tmp_path) is None) == (done < 43)
        timer.follow(phase, done, 100)
    assert read_step_time(tmp_path) == StepTime(done=43, steps=100, seconds=2.0)
    for at, done in ((150, 44), (160, 45)):
        clock[0] = at
        timer.follow("adversarial", done, 90)
    found = read_step_time(tmp_path)
    assert found == StepTime(done=45, steps=90, seconds=10.0) and found.left == 450
    timer.end()
    assert read_step_time(tmp_path) is None
    (tmp_path / STEP_TIME).write_text("{}")
    assert read_step_time(tmp_path) is None


def test_it_is_not_written_with_every_step(tmp_path: Path) -> None:
    clock = [0.0]
    timer = StepTimer(folder=tmp_path, now=lambda: clock[0])
    written = []
    for step in range(1, 1000):
        clock[0] += 0.1
        timer.follow("pretrain", step, 10**6)
        found = read_step_time(tmp_path)
        written += [found.done] if found and found.done not in written else []
    assert 15 < len(written) < 25, "once in five seconds"
