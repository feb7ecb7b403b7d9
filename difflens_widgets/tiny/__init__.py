"""difflens-tiny: a real Stable Diffusion in miniature, trained by this project on pictures it draws itself."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The embedded model as a diffusers folder."""
