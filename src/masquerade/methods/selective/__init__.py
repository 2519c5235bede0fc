"""Motion-consistent noise over chosen regions (Ilic et al., CVPR 2024), and gait jitter."""

from masquerade.methods.selective.selective import RECORDED_KEY, Selective

__all__ = ["RECORDED_KEY", "Selective"]
