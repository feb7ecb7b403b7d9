"""A run as a grid, a figure, a GIF, a page, and as the trait values of a widget."""
