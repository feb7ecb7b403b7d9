"""Numbers about what the layers of a text encoder hold; `difflens_widgets` has the public names.

Apart from the judges and what takes a lens, everything works on numpy arrays: a saved run is analysed without torch.
"""
