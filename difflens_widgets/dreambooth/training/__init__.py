"""The DreamBooth training loop: pictures in, weights and validation runs out."""
