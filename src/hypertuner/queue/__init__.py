"""Starting runs: making them, and running a script as one of their attempts."""
