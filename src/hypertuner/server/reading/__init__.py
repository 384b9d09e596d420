"""What the server knows of many runs: rows that follow the folders, questions about them, curves, and the live stream.

Nothing here is the truth; the folders are. All of it may be thrown away at any moment, and is read again.
"""
