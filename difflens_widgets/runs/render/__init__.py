"""Draws a run: a grid, a figure, a GIF, a page, and the trait values of a widget."""
