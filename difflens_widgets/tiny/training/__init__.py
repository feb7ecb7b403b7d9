"""Trains the embedded model from nothing, stage by stage."""
