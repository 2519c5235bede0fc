"""Motion-consistent noise over chosen regions (Ilic et al., CVPR 2024), and gait jitter."""

from masquerade.methods.selective.selective import GIVEN, Selective, code, paper

__all__ = ["GIVEN", "Selective", "code", "paper"]
