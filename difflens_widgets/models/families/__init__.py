"""One module for each family that reads a T5 or a language model: what its pipeline reads, and what "layer k" means."""
