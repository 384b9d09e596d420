"""Asking many runs at once: a query language, and the table it gives. Nothing here is the truth; the folders are."""
