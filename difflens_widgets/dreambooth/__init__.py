"""DreamBooth with the lens: fine-tune a model on a few images of one subject, and see every layer while it trains."""
