"""Files to frames and back, on PyAV. Knows nothing of privacy."""
