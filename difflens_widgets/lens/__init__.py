"""The lens: from a prompt to one picture for each layer of the text encoder."""
