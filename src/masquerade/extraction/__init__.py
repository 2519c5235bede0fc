"""Extract small clips from a dataset's anonymized videos, store and load them."""

STORE_LIMIT_GB = 100.0  # that clips take on the disk, unless another limit is given
