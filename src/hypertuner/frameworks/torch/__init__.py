"""The bridge to PyTorch: the only place that imports torch."""
