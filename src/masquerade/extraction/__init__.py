"""Extract small clips from a dataset's anonymized videos, store and load them."""
