"""Video files to frames and back, on PyAV. Nothing in this package hides anything in pictures."""
