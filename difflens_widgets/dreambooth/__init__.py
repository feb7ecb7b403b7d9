"""DreamBooth with the lens: fine-tune on a few pictures of one subject, and watch every layer while it trains."""
