"""Gait attackers know people who all look alike by how they move, behind differences too."""

import numpy as np
import pytest
import torch

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.mimes import Mimes
from masquerade.evaluation.kernel_ridge import KernelRidge, extract_features
from masquerade.evaluation.presets import GAIT, TEMPORAL_KERNELS, AttackerModel
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.extraction.flow_clip import flow_clip, flow_frame
from masquerade.methods.frame_difference import FrameDifference

CLIPS, PEOPLE = 96, 4
MIMES = Mimes(
    clips=CLIPS, people=PEOPLE, frames=32, size=64, looks=False, actions=("walk", "march")
)
WHO = MIMES.targets("identity")
TRAIN = np.arange(CLIPS) % (3 * PEOPLE) < 2 * PEOPLE  # every third clip of each person is tested


def datasets(method: Anonymizer | None) -> tuple[ClipDataset, ClipDataset]:
    """The clips of a method as pixels and as flow."""
    frames, flow = [], []
    for drawn in (MIMES.clip(i) for i in range(CLIPS)):
        shown = np.ascontiguousarray(drawn.clip.transpose(1, 2, 3, 0))
        if method is not None:
            shown = np.asarray(method.on_pixels(shown, state=method.init_state())[0], np.uint8)
        frames.append(torch.from_numpy(shown[1::2].transpose(3, 0, 1, 2).copy()))
        flow.append(torch.from_numpy(flow_clip([flow_frame(one) for one in shown])))
    return from_tensor(torch.stack(frames)), from_tensor(torch.stack(flow))


def read(model: AttackerModel, clips: ClipDataset) -> float:
    """The share of test clips whose person an attacker names."""
    features, hot = extract_features(clips, model), np.eye(PEOPLE)[WHO]
    machine = KernelRidge(features[TRAIN], {"who": hot[TRAIN]})
    return float((machine.predict(features[~TRAIN])["who"].argmax(1) == WHO[~TRAIN]).mean())


@pytest.mark.parametrize("method", [None, FrameDifference()], ids=["raw", "difference"])
@pytest.mark.slow
def test_the_spectrum_of_flow_names_people_whom_pixels_do_not(method: Anonymizer | None) -> None:
    pixels, flow = datasets(method)
    told = read(GAIT["kernel on flow spectrum"], flow)
    assert told > 0.6  # guess .25
    assert told > read(TEMPORAL_KERNELS["kernel on motion"], pixels) + 0.1
