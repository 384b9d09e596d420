"""The file format `hypertuner/1`: read, sealed and verified without running anything in a file, and without torch."""
