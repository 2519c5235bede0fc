"""Suites of methods, datasets and protocols, and the papers' own tables to set beside them."""
