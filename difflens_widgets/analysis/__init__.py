"""Measures of what the layers of a text encoder hold; their public names are in `difflens_widgets`.

All but the judges work on numpy arrays: a saved run is analysed without torch.
"""
