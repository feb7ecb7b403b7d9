"""difflens_widgets: a microscope for text-to-image models in a notebook cell."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

# imported on first use: to open a .lens file needs no torch, and `import difflens_widgets` stays fast
_HOMES = {
    "DiffusionLens": ".lens.diffusion_lens",
    "DreamBoothConfig": ".dreambooth.config",
    "TrainingJob": ".dreambooth.job",
    "rare_tokens": ".dreambooth.rare_tokens",
    "start_dreambooth": ".dreambooth.training.trainer",
    "train_dreambooth": ".dreambooth.training.trainer",
    "LensJob": ".runs.job",
    "LensRun": ".runs.run",
    "PromptPart": ".runs.tokens",
    "to_html": ".runs.render.page",
    "Comparison": ".analysis.comparison.comparison",
    "DiffViewer": ".widgets.diff_viewer",
    "EpochScrubber": ".widgets.epoch_scrubber",
    "LayerSlider": ".widgets.layer_slider",
    "Microscope": ".widgets.microscope",
    "StableDiffusionGlassPipeline": ".lens.glass",
    "TokenAttentionGrid": ".widgets.token_attention_grid",
    "TrainingHistory": ".dreambooth.history.history",
    "AttentionOptions": ".runs.maps.options",
    "CLIPJudge": ".analysis.judges",
    "EmergenceTable": ".analysis.table",
    "EmergenceTask": ".analysis.experiment",
    "SceneJudge": ".tiny.scene_judge",
    "compare": ".analysis.comparison.compare",
    "emergence": ".analysis.emergence",
    "encoder_attention": ".analysis.encoder_attention",
    "emergence_table": ".analysis.experiment",
    "layer_cka": ".analysis.cka",
    "layer_change": ".analysis.layer_change",
    "linear_cka": ".analysis.cka",
    "read_states": ".analysis.states",
    "similarity_report": ".analysis.similarity",
    "state_norms": ".analysis.layer_change",
    "Sweep": ".analysis.sweep.result",
    "sweep": ".analysis.sweep.run",
    "token_similarity": ".analysis.similarity",
    "capture_attention": ".attention.capture",
    "Family": ".models.family",
    "TextAttention": ".models.text_attention",
    "TextEncoder": ".models.family",
    "check_family": ".lens.check_family",
    "register_family": ".models",
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
    "Family",
    "LayerSlider",
    "LensJob",
    "LensRun",
    "Microscope",
    "PromptPart",
    "SceneJudge",
    "StableDiffusionGlassPipeline",
    "Sweep",
    "TextAttention",
    "TextEncoder",
    "TokenAttentionGrid",
    "TrainingHistory",
    "TrainingJob",
    "capture_attention",
    "check_family",
    "compare",
    "emergence",
    "emergence_table",
    "encoder_attention",
    "layer_change",
    "layer_cka",
    "linear_cka",
    "rare_tokens",
    "read_states",
    "register_family",
    "similarity_report",
    "start_dreambooth",
    "state_norms",
    "sweep",
    "to_html",
    "token_similarity",
    "train_dreambooth",
]

if TYPE_CHECKING:
    from .analysis.cka import layer_cka, linear_cka
    from .analysis.comparison.compare import compare
    from .analysis.comparison.comparison import Comparison
    from .analysis.emergence import emergence
    from .analysis.encoder_attention import encoder_attention
    from .analysis.experiment import EmergenceTask, emergence_table
    from .analysis.judges import CLIPJudge
    from .analysis.layer_change import layer_change, state_norms
    from .analysis.similarity import similarity_report, token_similarity
    from .analysis.states import read_states
    from .analysis.sweep.result import Sweep
    from .analysis.sweep.run import sweep
    from .analysis.table import EmergenceTable
    from .attention.capture import capture_attention
    from .dreambooth.config import DreamBoothConfig
    from .dreambooth.history.history import TrainingHistory
    from .dreambooth.job import TrainingJob
    from .dreambooth.rare_tokens import rare_tokens
    from .dreambooth.training.trainer import start_dreambooth, train_dreambooth
    from .lens.check_family import check_family
    from .lens.diffusion_lens import DiffusionLens
    from .lens.glass import StableDiffusionGlassPipeline
    from .models import register_family
    from .models.family import Family, TextEncoder
    from .runs.job import LensJob
    from .runs.maps.options import AttentionOptions
    from .runs.render.page import to_html
    from .runs.run import LensRun
    from .runs.tokens import PromptPart
    from .tiny.scene_judge import SceneJudge
    from .widgets.diff_viewer import DiffViewer
    from .widgets.epoch_scrubber import EpochScrubber
    from .widgets.layer_slider import LayerSlider
    from .widgets.microscope import Microscope
    from .widgets.token_attention_grid import TokenAttentionGrid


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def load_ipython_extension(shell: Any) -> None:
    """Add the magics ``%lens`` and ``%%lens`` to a notebook: ``%load_ext difflens_widgets``."""
    import_module(".cli.magics", __name__).register(shell)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
