"""Attention maps without torch: what is requested, what is kept, and a word's heat map."""
