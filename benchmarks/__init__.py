"""What hypertuner costs, measured; a timing is never a test."""
