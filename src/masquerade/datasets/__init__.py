"""Manifests, published label files, splits and what is wrong with them; no network in here."""
