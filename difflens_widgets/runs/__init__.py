"""The record of one prompt: tokens, events, images, the job that fills it, its file, its drawings. Needs no torch."""
