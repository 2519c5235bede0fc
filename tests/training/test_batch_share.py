"""The rows of a batch that each of several processes computes."""

from __future__ import annotations

import pytest
import torch

from masquerade.training.batch_share import BatchShare


@pytest.mark.parametrize("total", [1, 2, 4, 7])
def test_every_row_is_of_one_process_and_who_has_none_computes_the_first(total: int) -> None:
    shares = [BatchShare(rank=rank, world=4, total=total) for rank in range(4)]
    own = [share.rows for share in shares if share.counts[share.rank]]
    assert sorted(torch.cat(own).tolist()) == list(range(total))
    whole = torch.arange(total)
    for share in shares[total:]:  # as many as have no row, also beyond the last one
        assert share.take(whole).tolist() == [0] and share.weigh(torch.ones(())) == 0
        with share.draws():
            assert torch.rand(1, 3).shape == (1, 3)
