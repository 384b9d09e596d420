"""The run panel: one run whole, its output, files and media, read by file descriptor: no link is followed."""
