"""Layers and networks in the published state-dict names, optical flow, and recognizers."""
