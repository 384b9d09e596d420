"""Checkpoints: their file format, the recipe of a model, how they are committed, offered, kept and named."""
