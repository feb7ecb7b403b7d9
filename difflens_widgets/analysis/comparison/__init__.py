"""Two models on one prompt, from the same noise: what differs, and at which layer."""
