"""The widgets: one Python file and one TypeScript file each, joined by synced traits."""

from .diff_viewer import DiffViewer
from .epoch_scrubber import EpochScrubber
from .layer_slider import LayerSlider
from .microscope import Microscope
from .token_attention_grid import TokenAttentionGrid

__all__ = ["DiffViewer", "EpochScrubber", "LayerSlider", "Microscope", "TokenAttentionGrid"]
