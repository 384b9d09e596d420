"""Weights: checkpoints over all runs, what is in one, the family tree of runs, room on the disk.

Nothing in a file is unpickled here, and torch is not imported: what needs it runs in a child process of its own.
"""
