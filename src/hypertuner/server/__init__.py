"""The GUI's server: reads run folders, says what they say, starts what the user asks for.

It never imports torch and never unpickles: what must runs in a child process.
"""
