"""Video files to frames and back, on PyAV. Nothing in this room hides anything."""
