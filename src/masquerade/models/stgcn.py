"""ST-GCN, a graph convolutional network on sequences of landmarks, and the graph of a body.

Yan, Xiong and Lin, "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action
Recognition" (AAAI 2018), with fewer and narrower layers. A layer is a graph convolution over the
joints of a frame (`GraphConvolution`), then a convolution over the frames of each joint.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError

LANDMARKS = 33  # in BlazePose's order, as in `masquerade.anonymizer.Person`
JOINTS = (0, *range(11, 17), 19, 20, *range(23, 29), 31, 32)  # without face, thumbs and heels
"""The landmarks that the network reads."""
BONES = (
    *((0, 11), (0, 12), (11, 12), (11, 23), (12, 24), (23, 24)),  # neck and trunk
    *((11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20)),  # arms
    *((23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32)),  # legs
)
"""Pairs of these that are joined."""
TRUNK = (11, 12, 23, 24)  # from which distances in the graph are counted
_FACE = zip((1, 2, 3, 7, 9), (4, 5, 6, 8, 10), strict=True)
_SIDES = (*_FACE, *((i, i + 1) for i in range(11, LANDMARKS, 2)))  # left and right
MIRROR = tuple(dict([(0, 0), *_SIDES, *((b, a) for a, b in _SIDES)])[i] for i in range(LANDMARKS))
"""The landmark on the other side of the body, of each."""
ALPHA = 0.001  # added to a joint's degree, which may be 0 in a partition


def distances_to_trunk() -> dict[int, int]:
    """How many bones lie between each joint and the trunk."""
    distances = dict.fromkeys(TRUNK, 0)
    while len(distances) < len(JOINTS):
        ends = [end for bone in BONES for end in (bone, bone[::-1])]
        distances |= {b: distances[a] + 1 for a, b in ends if a in distances and b not in distances}
    return distances


def partitioned_adjacency() -> Tensor:
    """(3, V, V), the normalised adjacency matrices of the spatial configuration partitioning.

    Eq. 8: of the neighbours of a joint, itself and those as far from the centre of the body are the
    first subset, those nearer to it the second, those farther the third. Each A_j of eq. 10 is
    normalised by the roots of its row sums and of its column sums, plus ALPHA. The paper has row
    sums for both: in the second and third subset some are 0, and weights would be 30 times as large
    as others.
    """
    far = distances_to_trunk()
    parts = torch.zeros(3, len(JOINTS), len(JOINTS))
    for a, b in (*zip(JOINTS, JOINTS, strict=True), *BONES, *((b, a) for a, b in BONES)):
        subset = 0 if far[a] == far[b] else 1 if far[b] < far[a] else 2
        parts[subset, JOINTS.index(a), JOINTS.index(b)] = 1
    rows, columns = (parts.sum(dim).add(ALPHA).rsqrt() for dim in (2, 1))
    return rows[:, :, None] * parts * columns[:, None, :]


class GraphConvolution(nn.Module):
    """The graph convolution over the joints of each frame.

    f_out = sum over j of (A_j * M_j) f_in W_j (eq. 10), where A_j is the normalised adjacency of
    one of three subsets of neighbours, * is element by element, and M_j is learned, the importance
    of each edge.
    """

    adjacency: Tensor

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        adjacency = partitioned_adjacency()
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.importance = nn.Parameter(torch.ones_like(adjacency))
        self.weight = nn.Conv2d(channels, out * len(adjacency), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V) to (N, out, T, V).

        Neighbours are summed before W_j is applied, which is the same and takes fewer numbers: a
        layer has fewer channels before it than behind.
        """
        edges = self.adjacency * self.importance  # (3, V, V)
        parts = len(edges)
        weight = self.weight.weight.view(parts, -1, x.shape[1], 1, 1)  # W_j, (3, out, C, 1, 1)
        assert self.weight.bias is not None
        bias = self.weight.bias.view(parts, -1)  # (3, out)
        gathered = torch.einsum("nctw,jvw->njctv", x, edges).flatten(1, 2)  # (N, 3 C, T, V)
        features = F.conv2d(gathered, weight.transpose(0, 1).flatten(1, 2))
        return features + torch.einsum("jo,jv->ov", bias, edges.sum(dim=2))[:, None]


class Layer(nn.Module):
    """A graph convolution, a convolution over time, and a residual connection around both."""

    def __init__(self, channels: int, out: int, *, stride: int, kernel: int) -> None:
        super().__init__()
        self.graph = GraphConvolution(channels, out)
        self.first = nn.BatchNorm2d(out)
        self.time = nn.Conv2d(out, out, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.second = nn.BatchNorm2d(out)
        self.residual: nn.Module = nn.Identity()
        if channels != out or stride > 1:
            shortcut = nn.Conv2d(channels, out, 1, (stride, 1))
            self.residual = nn.Sequential(shortcut, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V) to (N, out, T / stride, V)."""
        y = F.relu(self.first(self.graph(x)))
        return F.relu(self.second(self.time(y)) + self.residual(x))


class STGCN(nn.Module):
    """ST-GCN on (B, C, T, 33, M): landmarks of M people, zeros where nobody is seen.

    Of the landmarks 17 joints are read. Each channel of each is standardised by a batch norm over
    people and frames; people go through the same layers, whose outputs are averaged over frames,
    joints and people. The paper has nine layers of 64 to 256 channels; these are for a hundred
    clips on a processor.
    """

    head_names = ("head",)

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        kernel: int = 5,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.width, self.channels = widths[-1], in_channels
        # The mean over all batches: what is fed stays the same, unlike what layers compute.
        self.norm = nn.BatchNorm1d(in_channels * len(JOINTS), momentum=None)
        self.layers = nn.Sequential(
            *(
                Layer(a, b, stride=1 if i == 0 else 2, kernel=kernel)
                for i, (a, b) in enumerate(pairwise((in_channels, *widths)))
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width, classes)

    def pooled(self, poses: Tensor) -> Tensor:
        """(B, C, T, 33, M) -> (B, width)."""
        if poses.shape[3] != LANDMARKS:
            raise UsageError(
                f"st-gcn reads sequences of landmarks (B, {self.channels}, T, {LANDMARKS}, people),"
                f" and was given {tuple(poses.shape)}."
            )
        x = poses[:, :, :, list(JOINTS)]
        batch, channels, frames, joints, people = x.shape
        x = x.permute(0, 4, 1, 3, 2).reshape(batch * people, channels * joints, frames)
        x = self.norm(x).unflatten(1, (channels, joints)).transpose(2, 3)  # (B * M, C, T, V)
        return self.layers(x).mean(dim=(2, 3)).unflatten(0, (batch, people)).mean(dim=1)

    def forward(self, poses: Tensor) -> Tensor:
        return self.head(self.dropout(self.pooled(poses)))
