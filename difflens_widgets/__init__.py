"""difflens_widgets: a microscope for text-to-image models in a notebook cell."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# loaded when first used: opening a .lens file needs no torch, and `import difflens_widgets` stays quick
_HOMES = {
    "DiffusionLens": ".lens",
    "DreamBoothConfig": ".dreambooth.config",
    "TrainingJob": ".dreambooth.job",
    "rare_tokens": ".dreambooth.tokens",
    "train_dreambooth": ".dreambooth.job",
    "LensJob": ".job",
    "LensRun": ".run",
    "Keep": ".tokens",
    "Comparison": ".comparison",
    "DiffViewer": ".widgets.diff_viewer",
    "LayerAblation": ".ablation",
    "EpochScrubber": ".widgets.epoch_scrubber",
    "LayerSlider": ".widgets.layer_slider",
    "StableDiffusionGlassPipeline": ".glass",
    "TokenAttentionGrid": ".widgets.token_attention_grid",
    "TrainingHistory": ".dreambooth.history",
    "AttentionOptions": ".attention.options",
    "CLIPJudge": ".analysis.judges",
    "EmergenceTable": ".analysis.table",
    "EmergenceTask": ".analysis.experiment",
    "SceneJudge": ".analysis.judges",
    "compare": ".comparison",
    "emergence": ".analysis.emergence",
    "encoder_attention": ".attention.encoder",
    "emergence_table": ".analysis.experiment",
    "layer_cka": ".analysis.cka",
    "layer_drift": ".analysis.drift",
    "linear_cka": ".analysis.cka",
    "read_states": ".analysis.states",
    "similarity_report": ".analysis.similarity",
    "state_norms": ".analysis.drift",
    "token_similarity": ".analysis.similarity",
    "watch_attention": ".attention.capture",
}
__all__ = [
    "AttentionOptions",
    "CLIPJudge",
    "Comparison",
    "DiffViewer",
    "DiffusionLens",
    "DreamBoothConfig",
    "EmergenceTable",
    "EmergenceTask",
    "EpochScrubber",
    "Keep",
    "LayerAblation",
    "LayerSlider",
    "LensJob",
    "LensRun",
    "SceneJudge",
    "StableDiffusionGlassPipeline",
    "TokenAttentionGrid",
    "TrainingHistory",
    "TrainingJob",
    "compare",
    "emergence",
    "emergence_table",
    "encoder_attention",
    "layer_cka",
    "layer_drift",
    "linear_cka",
    "rare_tokens",
    "read_states",
    "similarity_report",
    "state_norms",
    "token_similarity",
    "train_dreambooth",
    "watch_attention",
]

if TYPE_CHECKING:
    from .ablation import LayerAblation
    from .analysis.cka import layer_cka, linear_cka
    from .analysis.drift import layer_drift, state_norms
    from .analysis.emergence import emergence
    from .analysis.experiment import EmergenceTask, emergence_table
    from .analysis.judges import CLIPJudge, SceneJudge
    from .analysis.similarity import similarity_report, token_similarity
    from .analysis.states import read_states
    from .analysis.table import EmergenceTable
    from .attention.capture import watch_attention
    from .attention.encoder import encoder_attention
    from .attention.options import AttentionOptions
    from .comparison import Comparison, compare
    from .dreambooth.config import DreamBoothConfig
    from .dreambooth.history import TrainingHistory
    from .dreambooth.job import TrainingJob, train_dreambooth
    from .dreambooth.tokens import rare_tokens
    from .glass import StableDiffusionGlassPipeline
    from .job import LensJob
    from .lens import DiffusionLens
    from .run import LensRun
    from .tokens import Keep
    from .widgets.diff_viewer import DiffViewer
    from .widgets.epoch_scrubber import EpochScrubber
    from .widgets.layer_slider import LayerSlider
    from .widgets.token_attention_grid import TokenAttentionGrid


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
