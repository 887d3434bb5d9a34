"""The names that people give to what backward and double backward passes take and return.

``ddx``, ``ddgamma`` and ``ddbeta`` are the cotangents of what the backward pass returns: PyTorch
has ggI, ggG and ggB for them, TensorFlow grad_grad_x, grad_grad_scale and grad_grad_offset.
"""

import re
from collections.abc import Mapping
from functools import cache

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
    "output": ("res", "result", "layer_output", "forward_output", "y", "y_out"),
    "residual": ("residual", "skip", "shortcut", "residual_input", "skip_input", "x_res", "resid"),
    "groups": ("groups", "num_groups", "n_groups", "group"),
    "training": (
        "training", "train", "is_training", "train_flg", "is_train", "mode", "train_mode", "phase",
        "istraining",
    ),
    "momentum": ("momentum", "mom", "decay"),
    "rate": ("rate", "lr", "learning_rate", "eta_lr", "step_size", "lrate", "learningrate"),
    "optimizer": ("optimizer", "optim", "opt", "optimiser", "updater"),
    "mean": (
        "mean", "mu", "sample_mean", "batch_mean", "x_mean", "mu_b", "avg", "m_b", "means", "mus",
        "save_mean", "saved_mean",
    ),
    "var": (
        "var", "variance", "sigma2", "sample_var", "batch_var", "x_var", "sigma_squared", "v_b",
        "vars", "sig2", "sigma_sq",
    ),
    "sd": ("sd", "std", "sigma", "stddev", "sqrtvar", "sample_std", "batch_std", "std_dev"),
    "rstd": (
        "rstd", "ivar", "inv_std", "invstd", "inv_var", "istd", "std_inv", "rsigma", "invvar",
        "inv_sd", "stddev_inv", "rrms", "inv_rms", "rms_inv", "save_invstd", "inv_stddev",
    ),
    "xhat": (
        "xhat", "x_hat", "x_norm", "xnorm", "normalized", "normalised", "x_normalized", "xn",
        "x_normed", "norm_x", "x_h", "x_bar", "x_standardized", "hat_x", "zhat", "z_norm",
    ),
    "centred": ("xmu", "x_mu", "x_centered", "xc", "x_minus_mu", "x_centred", "centered", "diff"),
    "count": ("n", "m", "batch_size", "num_examples", "num_samples", "batch"),
    "width": (
        "d", "dim", "dims", "num_features", "n_features", "features", "channels", "num_channels",
        "normalized_shape", "size", "hidden_size", "n_out", "n_in", "nb_features", "c",
        "feature_size", "in_features", "out_features", "n_channels", "num_units", "input_dim",
        "input_size", "units", "nin", "nout", "neurons", "n_neurons", "embed_dim", "d_model",
        "input_shape", "shape", "in_dim", "n_inputs", "n_units", "in_channels", "in_shape",
    ),
    "label": ("name", "label", "layer_name", "scope", "tag"),
    "running_mean": (
        "running_mean", "moving_mean", "run_mean", "global_mean", "test_mean", "running_mu",
        "moving_mu", "rolling_mean", "mean_running", "mean_moving", "moving_avg_mean",
        "running_avg_mean", "moving_average_mean", "running_average_mean", "avg_mean", "ema_mean",
        "mean_ema", "pop_mean", "population_mean", "inference_mean", "eval_mean", "mov_mean",
        "exp_mean", "r_mean", "mean_run", "mu_running", "running_means", "accumulated_mean",
    ),
    "running_var": (
        "running_var", "moving_var", "run_var", "global_var", "moving_variance", "test_var",
        "running_variance", "global_variance", "running_sigma2", "rolling_var", "var_running",
        "var_moving", "moving_avg_var", "running_avg_var", "moving_average_var", "avg_var",
        "running_average_var", "ema_var", "var_ema", "pop_var", "population_var", "inference_var",
        "eval_var", "mov_var", "exp_var", "r_var", "var_run", "running_vars", "accumulated_var",
        "running_std", "moving_std", "running_sd", "running_sigma", "moving_sigma", "run_std",
    ),
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
    "dx": ("dx", "d_x", "grad_x", "grad_input", "dinputs", "dinput", "din", "da_prev", "dldx",
        "dinp",
   ),
}  # fmt: skip
"""Gradient: the names of attributes, dictionary keys and variables that hold it."""


def _turned(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Spelling, without underscores, to what it means; the first meaning wins."""
    pairs = [(name.replace("_", ""), meaning) for meaning, names in table.items() for name in names]
    return dict(reversed(pairs))


_ROLES, _GRADIENTS = _turned(SPELLINGS), _turned(GRADIENTS)
_LAYERS = {
    "layer-norm": r"layer_?norm|(?<![a-z])ln(?![a-z])",
    "group-norm": r"group_?norm|(?<![a-z])gn(?![a-z])",
    "instance-norm": r"instance_?norm",
    "rms-norm": r"rms",
    "weight-norm": r"weight_?norm",
    "batch-norm": r"batch_?norm|(?<![a-z])bn(?![a-z])|batch_?layer_?norm",
}


@cache
def role(name: str) -> str | None:
    """What an argument of this name is: ``"dy"``, ``"x"``, ``"gamma"``, ...; None if unknown."""
    return _find(name, _ROLES)


STATISTICS = ("mean", "var", "sd", "rstd", "xhat", "centred", "count", "width")
"""What a forward pass computes on the way, and some backward passes ask for."""

FORWARDS = (
    "forward", "forward_pass", "__call__", "feedforward", "feed_forward", "fprop", "call",
    "train_forward", "forwardpass", "forward_propagation", "fwd", "propagate", "apply", "predict",
    "classify", "transform", "update_output",
)  # fmt: skip
"""Methods that are a forward pass, the likeliest first."""

BACKWARDS = (
    "backward", "backward_pass", "backprop", "back_pass", "backpropagation", "backpropagate",
    "bprop", "train_backward", "backwardpass", "gradient", "backward_propagation", "bwd", "back",
    "learn", "back_prop", "backpass", "grad", "gradients", "calc_gradient", "backprop_pass",
    "backword", "grad_calc", "update_grad_input",
)  # fmt: skip
"""Methods that are a backward pass."""

TESTING = re.compile(r"^(is_?|in_?|for_?)?(test|eval|infer|predict)", re.IGNORECASE)
"""Names of what says that this is evaluation mode."""

SETUPS = (
    "set_input_shape", "build", "initialize", "init_params", "initialise", "make", "compile",
    "init_parameters", "initialize_parameters", "init_weights", "reset_parameters", "setup",
    "initialize_params", "set_optimizer", "_init_params", "_build", "init", "initparams",
)  # fmt: skip
"""Methods that make the parameters, called before the first forward pass, in this order."""

_BACKWARD_NAME = re.compile(
    r"backw[ao]rd|back_?prop|back_?pass|bprop|(?<![a-z])bwd|(?<![a-z])vjp|_grads?$|^grads?_|gradient"
    r"|calc_?deri",
    re.IGNORECASE,
)
_OTHER_LAYERS = re.compile(
    r"affine|linear|dense|relu|conv|pool|softmax|sigmoid|tanh|dropout|svm|rnn|lstm|gru|embed|"
    r"attention|flatten|loss|cross_?entropy|mse|gelu|swish|temporal|word|upsample|padding|"
    r"sequential|network|model|matmul|two_?layer|full_?connect|fully|activation",
    re.IGNORECASE,
)


_LIKELY = {
    "dy": r"grad|delta|upstream|d_?out|(?<![a-z])d_?l_?d|error|(?<![a-z])err",
    "gamma": r"gamma|scale|gain",
    "beta": r"beta|bias|shift",
    "eps": r"eps",
    "x": r"input|(?<![a-z])x(?![a-z])|feature_map|activations?$|images?$",
    "cache": r"cache|saved|stored",
    "optimizer": r"opt\w*mi[sz]er",
}


DIRECTIONS = ("ddx", "ddgamma", "ddbeta")
"""The roles that only a double backward pass has."""

LETTERS = {"ddx": ("v", "u", "vx"), "ddgamma": ("a", "va", "alpha"), "ddbeta": ("b", "vb")}
"""What they are called in formulas; only where another parameter is plainly x."""

_DOUBLE_NAME = re.compile(
    r"double_?back|double_?(grad|bwd|vjp)|(?<!fall)(?<!feed)back(ward|prop)?_?(of_?)?back|"
    r"grad_?grad|second_?back|second_?order_?(back|grad|vjp)|second_?(grad|vjp|bwd)|bwd_?bwd|"
    r"vjp_?vjp|"
    r"2nd_?(order_?)?(back|bwd|grad)|higher_?order_?(back|grad)",
    re.IGNORECASE,
)
_TEST_NAME = re.compile(r"^_*(test|check|assert|numeric|compare|ref)", re.IGNORECASE)
_OF_INPUT = re.compile(r"^(?:gg|grad_?grad|dd|d2|v_|ct_|cot_|cotangent_)_?(.+)$", re.IGNORECASE)
_OF_GRADIENT = re.compile(
    r"^(?:v|u|w|d|g|ct|cot|cotangent|grad|grad_of|gradient_of)_(?P<a>.+)$"
    r"|^(?P<b>.+?)_?(?:bar|ct|cot|cotangent|tangent|dot)$",
    re.IGNORECASE,
)
_SHORT_DIRECTIONS = {"i": "ddx", "g": "ddgamma", "b": "ddbeta", "in": "ddx", "inp": "ddx"}
OTHERS_OF_DOUBLE = {"go": "dy", "gout": "dy", "grado": "dy", "outputmask": "mask"}
"""Further names of what a double backward pass takes, without underscores."""


def is_backward(name: str) -> bool:
    """Whether a function of this name is a backward pass."""
    return bool(_BACKWARD_NAME.search(name))


def is_other_layer(*names: str) -> bool:
    """Whether a name speaks of a layer that is no normalization: ``affine_backward``, say."""
    return any(_OTHER_LAYERS.search(n) and not layer_hint(n) for n in names)


def likely_role(name: str) -> str | None:
    """What a parameter of an unusual name may be: ``grad_activated_output``, ``input_units``."""
    return next((r for r, said in _LIKELY.items() if re.search(said, name, re.IGNORECASE)), None)


def gradient(name: str) -> str | None:
    """Which gradient an attribute or key of this name holds."""
    return _find(name, _GRADIENTS)


def layer_hint(*names: str) -> str | None:
    """The layer that a name speaks of, ``layernorm_backward`` say; the first name first."""
    for name in names:
        for layer, pattern in _LAYERS.items():
            if re.search(pattern, name, re.IGNORECASE):
                return layer
    return None


def is_double(name: str) -> bool:
    """Whether a function of this name is a double backward pass."""
    return bool(_DOUBLE_NAME.search(name)) and not _TEST_NAME.search(name)


def double_role(name: str) -> str | None:
    """``"ddx"`` for ``ddx``, ``ggI``, ``grad_grad_input``, ``ct_dx``, ...; None for all else."""
    found = _OF_INPUT.match(name)
    if found:
        stem = found[1]
        if stem.lower() in _SHORT_DIRECTIONS:
            return _SHORT_DIRECTIONS[stem.lower()]
        known = role(stem)
        if known in ("x", "gamma", "beta"):
            return f"dd{known}"
    found = _OF_GRADIENT.match(name)
    of = gradient(found["a"] or found["b"]) if found else None
    return f"d{of}" if of else None


def _find(name: str, table: Mapping[str, str]) -> str | None:
    return table.get(name.replace("_", "").lower())
