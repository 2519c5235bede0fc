"""Write methods and recognizers as files that run without masquerade, compared with PyTorch."""
