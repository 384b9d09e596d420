"""Starting runs from the page: which scripts, what their settings are, whether a config is right, making the runs.

No script is executed or imported to find that out, and nothing is started but the script that the server was given.
"""
