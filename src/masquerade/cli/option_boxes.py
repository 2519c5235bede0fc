"""Boxes of the help that several verbs share: what finds people, what masks them, what encodes."""

DETECTION = (
    "detector detector_weights models scale min_size max_size every track gap carry lookback"
)
TEMPLATE = "keys key_weights combine gamma floor grow calibrated"
MASK = "shape mask_scale feather"
FILE = "codec crf encoder_preset lossless bitrate noise_qoffset hwaccel size"
"""Names of options by what they are about, for `boxes_of` of `masquerade.cli.readable_help`."""
