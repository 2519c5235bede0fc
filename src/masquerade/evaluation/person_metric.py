"""A metric learned on some people by which clips of other people are compared.

Re-identification compares people whom nobody trained on, so what is learned is not who they are
but which differences between clips tell people apart at all: linear discriminant analysis on the
identities of training people, as LDA and PLDA are used in speaker and face verification.
"""

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.metrics.statistic import Floats

SHRINKAGE = 0.03
"""How far the scatter within people is drawn to a multiple of the identity.

Of .01, .1 and .3, and of principal components whitened first, on 192 clips of 24 drawn people,
behind three methods and on raw video: .01 to .1 without whitening were the strongest.
"""
# singular value, absolute and of the largest, below which a direction is rounding
MIN_SINGULAR_VALUE = 1e-6
DECIMALS = 9  # of similarities: clips that are hidden perfectly are exactly alike
COMPONENTS = 400  # principal ones that are kept at most


class PersonMetric:
    """A linear map after which clips of one person are alike: PCA, then regularised LDA.

    Where training clips do not differ, as where all is hidden, everybody is alike.

    Args:
        features: (n, D) of training clips.
        people: (n,) who is in each.
    """

    def __init__(self, features: Floats, people: IntArray) -> None:
        self._mean = features.mean(axis=0)
        basis = principal_axes(features - self._mean)
        coordinates = (features - self._mean) @ basis
        names, person_index = np.unique(people, return_inverse=True)
        means = np.stack([coordinates[person_index == i].mean(axis=0) for i in range(len(names))])
        self._map = basis @ _discriminants(coordinates - means[person_index], means)

    def project(self, features: Floats) -> Floats:
        """(n, d) of length 1, or 0 where nothing is known of a clip, from (n, D)."""
        projected = (features - self._mean) @ self._map
        length = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.where(
            length > MIN_SINGULAR_VALUE, projected / np.maximum(length, MIN_SINGULAR_VALUE), 0.0
        )


def principal_axes(centred: Floats) -> Floats:
    """(D, k), the principal components of clips (n, D), the largest first, without rounding errors.

    They are eigenvectors of the products of clips or of features, of whichever there are fewer.
    That takes a quarter of the time of a singular value decomposition, and people are compared
    thousands of times.
    """
    wide = centred.shape[1] > len(centred)
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    spread = np.sqrt(np.maximum(values[::-1], 0.0))
    largest = np.flatnonzero(
        spread > MIN_SINGULAR_VALUE * max(1.0, float(spread.max(initial=0.0)))
    )[:COMPONENTS]
    axes = vectors[:, ::-1][:, largest]
    return np.asarray(centred.T @ axes / spread[largest] if wide else axes)


def _discriminants(within: Floats, means: Floats) -> Floats:
    """(k, people - 1), the directions that tell people apart, from (n, k) and (people, k)."""
    size = within.shape[1]
    if not size:
        return np.zeros((0, 0))
    scatter = within.T @ within / len(within)
    middle = float(np.trace(scatter)) / size
    scatter = (1 - SHRINKAGE) * scatter + SHRINKAGE * max(middle, MIN_SINGULAR_VALUE) * np.eye(size)
    values, vectors = np.linalg.eigh(scatter)
    white = vectors / np.sqrt(values)
    between = (means - means.mean(axis=0)) @ white
    _, _, axes = np.linalg.svd(between, full_matrices=False)
    return np.asarray(white @ axes[: max(1, len(means) - 1)].T)


def cosine(probes: Floats, gallery: Floats) -> Floats:
    """(p, g) cosine similarities of projected clips (p, d) and (g, d)."""
    return np.asarray((probes @ gallery.T).round(DECIMALS) + 0.0)
