"""difflens-tiny: a real Stable Diffusion in miniature, trained by this project on pictures it draws itself."""
