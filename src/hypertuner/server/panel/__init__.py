"""The run panel: one run whole, its output, files and media. Everything is read by file descriptor, links never followed."""
