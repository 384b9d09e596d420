"""hypertuner."""
