"""The pace of a training, as it is kept in its folder."""

from __future__ import annotations

from pathlib import Path

from masquerade.training.step_pace import PACE, Pace, PaceKeeper, read_pace


def test_the_pace_is_that_of_the_phase_without_its_first_step(tmp_path: Path) -> None:
    clock = [0.0]
    keeper = PaceKeeper(folder=tmp_path, now=lambda: clock[0])
    # resumed at step 40, and the first steps of phases take long; time, phase and step
    for at, phase, done in ((90, "pretrain", 41), (92, "pretrain", 42), (94, "pretrain", 43)):
        clock[0] = at
        assert (read_pace(tmp_path) is None) == (done < 43)
        keeper.follow(phase, done, 100)
    assert read_pace(tmp_path) == Pace(done=43, most=100, each=2.0)
    for at, done in ((150, 44), (160, 45)):
        clock[0] = at
        keeper.follow("adversarial", done, 90)
    found = read_pace(tmp_path)
    assert found == Pace(done=45, most=90, each=10.0) and found.left == 450
    keeper.end()
    assert read_pace(tmp_path) is None
    (tmp_path / PACE).write_text("{}")
    assert read_pace(tmp_path) is None


def test_it_is_not_written_with_every_step(tmp_path: Path) -> None:
    clock = [0.0]
    keeper = PaceKeeper(folder=tmp_path, now=lambda: clock[0])
    written = []
    for step in range(1, 1000):
        clock[0] += 0.1
        keeper.follow("pretrain", step, 10**6)
        found = read_pace(tmp_path)
        written += [found.done] if found and found.done not in written else []
    assert 15 < len(written) < 25, "once in five seconds"
