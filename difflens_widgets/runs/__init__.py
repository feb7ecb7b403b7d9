"""The record of one prompt: tokens, events, pictures, the job that fills it, its file and its renderings. No torch."""
