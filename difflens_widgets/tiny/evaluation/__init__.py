"""Scores the embedded model, and runs the experiments of the tutorials on it."""
