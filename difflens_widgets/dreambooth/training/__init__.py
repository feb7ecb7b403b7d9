"""The DreamBooth training: from images to weights and validation runs. Needs torch."""
