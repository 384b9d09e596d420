"""Bridges to frameworks, one folder each; a heavy library is imported in its own folder only."""
