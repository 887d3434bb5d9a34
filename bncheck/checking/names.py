"""The names that people give to what a backward pass takes and returns."""

import re

SPELLINGS: dict[str, tuple[str, ...]] = {
    "dy": (
        "dy", "dout", "grad_output", "grad", "delta", "error_tensor", "dldbz", "da", "g", "eta",
        "dldy", "cost_err", "grad_outputs", "dvalues", "d_out", "y_error", "new_delta", "gy",
        "err", "loss", "up_grad", "accum_grad", "above_delta", "upstream", "upstream_grad",
        "grad_out", "gradient", "output_gradient", "output_grad", "grad_y", "d_y", "dz", "dw",
        "error", "dl_dy", "gradients", "out_grad",
    ),
    "x": (
        "x", "input", "inputs", "input_tensor", "z", "inp", "data", "s", "a_prev", "x_in", "feat",
        "input_data", "v", "weights_v", "xs", "h", "hidden_states", "x_input", "input_x",
    ),
    "gamma": (
        "gamma", "weight", "weights", "scale", "bw", "layer_weight", "alpha", "w", "gain", "gammas",
        "g_param",
    ),
    "beta": ("beta", "bias", "bb", "offset", "bias_weight", "b", "shift", "betas"),
    "eps": ("eps", "epsilon", "var_eps", "e", "bn_eps", "eps_value", "variance_epsilon"),
    "params": (
        "bn_param", "ln_param", "gn_param", "param", "params", "param_dict", "bn_params", "config",
        "ln_params", "gn_params", "cfg", "hparams",
    ),
    "cache": ("cache", "saved", "ctx", "context", "memory", "caches", "tape", "residuals"),
    "groups": ("groups", "num_groups", "n_groups", "group"),
    "training": (
        "training", "train", "is_training", "train_flg", "is_train", "mode", "train_mode", "phase",
        "istraining",
    ),
    "momentum": ("momentum", "mom", "decay"),
}  # fmt: skip
"""Role: its spellings in lower case; where a name could be two things the first role wins."""

GRADIENTS: dict[str, tuple[str, ...]] = {
    "dgamma": (
        "dgamma", "d_gamma", "grad_gamma", "gamma_grad", "dg", "gradient_weights", "dweight",
        "grad_weights", "dldbw", "alpha_gradient", "d_gammas", "dgammas", "grad_weight", "dscale",
        "gammagrad", "weight_grad", "dldgamma", "delta_gamma", "gamma_gradient", "weights_grad",
    ),
    "dbeta": (
        "dbeta", "d_beta", "grad_beta", "beta_grad", "db", "gradient_bias", "dbias", "grad_bias",
        "dldbb", "bias_gradient", "d_betas", "dbetas", "dshift", "betagrad", "bias_grad", "dldbeta",
        "delta_beta", "beta_gradient", "doffset",
    ),
    "dx": ("dx", "d_x", "grad_x", "grad_input", "dinputs", "dinput", "din", "da_prev", "dldx"),
}  # fmt: skip
"""Gradient: the names of attributes, dictionary keys and variables that hold it."""

_LAYERS = {
    "layer-norm": r"layer_?norm|(?<![a-z])ln(?![a-z])",
    "group-norm": r"group_?norm|(?<![a-z])gn(?![a-z])",
    "instance-norm": r"instance_?norm",
    "rms-norm": r"rms",
    "weight-norm": r"weight_?norm",
    "batch-norm": r"batch_?norm|(?<![a-z])bn(?![a-z])",
}


def role(name: str) -> str | None:
    """What an argument of this name is: ``"dy"``, ``"x"``, ``"gamma"``, ...; None if unknown."""
    return _find(name, SPELLINGS)


def gradient(name: str) -> str | None:
    """Which gradient an attribute or key of this name holds."""
    return _find(name, GRADIENTS)


def layer_hint(*names: str) -> str | None:
    """The layer that a name speaks of, ``layernorm_backward`` say; the first name first."""
    for name in names:
        for layer, pattern in _LAYERS.items():
            if re.search(pattern, name, re.IGNORECASE):
                return layer
    return None


def _find(name: str, table: dict[str, tuple[str, ...]]) -> str | None:
    plain = name.strip("_").lower()
    return next((found for found, names in table.items() if plain in names), None)
