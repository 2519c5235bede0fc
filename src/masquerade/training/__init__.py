"""Fitting networks: one loop for every recognizer."""
