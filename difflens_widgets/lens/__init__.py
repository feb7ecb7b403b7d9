"""The lens: generates one image from the hidden states after each layer of the text encoder."""
