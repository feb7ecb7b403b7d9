"""Attention maps as a record: what is kept, and how a word's heat map is made of it. No torch."""
