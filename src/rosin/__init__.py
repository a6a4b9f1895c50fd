# SPDX-License-Identifier: Apache-2.0
"""Rosin: deep learning on JAX, small, hackable, and secure by design.

The public names stand in one table; each is imported when it is first used, so that
`import rosin` itself loads nothing.
"""

from rosin.core.lazy import lazily

PUBLIC = {
    "rosin.core.gradient": (
        "gradient",
        "hessian",
        "jacobian",
        "jacobian_vector",
        "per_example_gradients",
        "pullback",
        "stop_gradient",
        "vector_jacobian",
        "withgradient",
    ),
    "rosin.core.module": ("Module", "equal"),
    "rosin.core.precision": ("bf16", "f16", "f32", "f64"),
    "rosin.core.random": ("seed",),
    "rosin.core.recording": ("recording",),
    "rosin.core.sharing": ("share",),
    "rosin.core.summary": ("outputsize", "summary"),
    "rosin.core.surgery": ("at",),
    "rosin.core.transforms": ("remat", "scan_layers", "vmap"),
    "rosin.core.tree": (
        "automode",
        "combine",
        "destructure",
        "freeze",
        "modules",
        "partition",
        "testmode",
        "thaw",
        "trainables",
        "trainmode",
    ),
    "rosin.core.types": ("Array", "Buffer", "Key", "Static"),
    "rosin.data.loader": ("DataLoader",),
    "rosin.data.onehot": ("onecold", "onehot"),
    "rosin.data.split": ("kfolds", "splitobs"),
    "rosin.errors": (
        "DataError",
        "DtypeError",
        "FileError",
        "LimitError",
        "NonFiniteError",
        "RangeError",
        "RosinError",
        "ShapeError",
        "StateError",
        "StructureError",
        "TrustError",
        "UnsafeFileError",
        "UsageError",
    ),
    "rosin.files.models": ("load", "load_arrays", "load_metadata", "save"),
    "rosin.functional.activations": ("gelu", "identity", "relu", "sigmoid", "tanh"),
    "rosin.functional.losses": ("logitbinarycrossentropy", "logitcrossentropy", "mse"),
    "rosin.functional.shaping": ("flatten",),
    "rosin.functional.softmax_family": ("glu", "logsoftmax", "logsumexp", "softmax"),
    "rosin.layers.basic": ("Bilinear", "Dense", "Scale"),
    "rosin.layers.branches": ("Maxout", "PairwiseFusion"),
    "rosin.layers.containers": ("Chain", "Parallel", "SkipConnection", "activations"),
    "rosin.layers.conv": ("Conv", "ConvTranspose", "DepthwiseConv"),
    "rosin.layers.embedding": ("Embedding", "EmbeddingBag"),
    "rosin.layers.norm": ("GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"),
    "rosin.layers.pool": (
        "AdaptiveMaxPool",
        "AdaptiveMeanPool",
        "GlobalMaxPool",
        "GlobalMeanPool",
        "LpPool",
        "MaxPool",
        "MeanPool",
    ),
    "rosin.layers.regularise": ("AlphaDropout", "DropBlock", "Dropout"),
    "rosin.layers.reparametrise": ("SpectralNorm", "WeightNorm", "remove_weight_norms"),
    "rosin.layers.residual": ("DropPath", "LayerScale"),
    "rosin.layers.running_norm": ("BatchNorm", "InstanceNorm"),
    "rosin.limits": ("Limits",),
    "rosin.optimisers.rules": ("Adam", "AdamW", "Descent", "Momentum"),
    "rosin.optimisers.update": ("OptimiserState", "adjust", "setup", "update"),
    "rosin.train.checkpoint": ("Checkpoint",),
    "rosin.train.evaluate": ("evaluate",),
    "rosin.train.guard": ("find_nonfinite",),
    "rosin.train.history": ("History",),
    "rosin.train.loop": ("TrainResult", "train"),
    "rosin.train.step": ("StepResult", "trainstep"),
}
PACKAGES = ("functional",)
_NAMES = {name: home for home, names in PUBLIC.items() for name in names}
_HOMES = _NAMES | {package: f"rosin.{package}" for package in PACKAGES}

__version__ = "0.1.0"
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]  # noqa: PLE0605
__getattr__, __dir__ = lazily("rosin", lambda: _HOMES)
