"""The dictionaries of language models among the published layouts: Gemma Scope, Llama Scope and others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from published import Draw, Published, jump, row_norm, top, wide, write_json, write_safetensors, write_torch
from safetensors.torch import save_file as save_torch


def gemma_scope(root: Path, draw: Draw, kind: str = "res") -> Published:
    w, b, d, c = draw.usual()
    threshold = np.abs(draw(draw.atoms))
    folder = root / f"gemma-scope-2b-pt-{kind}" / "layer_20" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", W_enc=w, W_dec=d, b_enc=b, b_dec=c, threshold=threshold)
    w, b, d, c, threshold = wide(w, b, d, c, threshold)

    def forward(x):
        if kind == "transcoders":  # the stream over its root mean square, without a gain
            x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6)
        z = jump(x @ w + b, threshold)
        return z, z @ d + c

    return Published(folder, folder / "params.npz", forward)


def gemma_scope_2(root: Path, draw: Draw, affine: bool = False) -> Published:
    w, b, d, c = draw.usual()
    threshold, skip = np.abs(draw(draw.atoms)), draw(draw.dim, draw.dim, scale=0.3)
    folder = root / "transcoder" / "layer_7_width_16k_l0_medium_affine"
    layer = "model.layers.7."
    sides = ("pre_feedforward_layernorm.output",) if affine else ("output", "output")
    sides = (*sides, "post_feedforward_layernorm.output")[:2]
    config = {f"hf_hook_point_{side}": layer + hook for side, hook in zip(("in", "out"), sides, strict=True)}
    config |= {"architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt", "affine_connection": affine}
    write_json(folder / "config.json", config)
    tensors = {"w_enc": w, "w_dec": d, "b_enc": b, "b_dec": c, "threshold": threshold}
    if affine:
        tensors["affine_skip_connection"] = skip
    write_safetensors(folder / "params.safetensors", tensors)
    w, b, d, c, threshold, skip = wide(w, b, d, c, threshold, skip)

    def forward(x):
        z = jump(x @ w + b, threshold)
        return z, z @ d + c + (x @ skip if affine else 0)

    return Published(folder, folder / "params.safetensors", forward)


def llama_scope(
    root: Path, draw: Draw, lengths=(6.3125, 6.3125), hooks=("hook_resid_post", "hook_resid_post")
) -> Published:
    w, b, d, c = (torch.tensor(t).bfloat16() for t in draw.usual())
    folder = root / "Llama3_1-8B-Base-LXR-8x" / "Llama3_1-8B-Base-L8R-8x"
    theta = 0.2021
    config = {"d_model": draw.dim, "d_sae": draw.atoms, "act_fn": "jumprelu", "jump_relu_threshold": theta}
    config |= {"norm_activation": "dataset-wise", "apply_decoder_bias_to_pre_encoder": False, "top_k": 50}
    config |= {f"hook_point_{s}": f"blocks.8.{h}" for s, h in zip(("in", "out"), hooks, strict=True)}
    config["dataset_average_activation_norm"] = dict(zip(("in", "out"), lengths, strict=True))
    write_json(folder / "hyperparams.json", config)
    file = folder / "checkpoints" / "final.safetensors"
    file.parent.mkdir()
    tensors = {"encoder.weight": w.T, "encoder.bias": b, "decoder.weight": d.T, "decoder.bias": c}
    save_torch({name: t.contiguous() for name, t in tensors.items()}, file)
    w, b, d, c = (t.double().numpy() for t in (w, b, d, c))
    s_in, s_out = (draw.dim**0.5 / length for length in lengths)

    def forward(x):
        if hooks[0] == "ln2.hook_normalized":
            x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)
        pre = (s_in * x) @ w + b
        z = pre * (pre * np.linalg.norm(d, axis=1) / s_out > theta)
        return z, (z @ d + c) / s_out

    return Published(folder, file, forward)


def llama_scope_r1(root: Path, draw: Draw) -> Published:
    w, b, d, c = draw.usual()
    log = draw(draw.atoms, scale=0.3)
    folder = root / "Llama-Scope-R1-Distill" / "L15R"
    hook = {f"hook_point_{side}": "blocks.15.hook_resid_post" for side in ("in", "out")}
    write_json(folder / "config.json", hook | {"act_fn": "jumprelu", "d_model": draw.dim})
    tensors = {"encoder.weight": w.T, "encoder.bias": b, "decoder.weight": d.T, "decoder.bias": c}
    write_safetensors(folder / "sae_weights.safetensors", tensors | {"log_jumprelu_threshold": log})
    w, b, d, c, log = wide(w, b, d, c, log)

    def forward(x):
        z = jump(x @ w + b, np.exp(log))
        return z, z @ d + c

    return Published(folder, folder / "sae_weights.safetensors", forward)


def llamascopium(root: Path, draw: Draw, act: str = "jumprelu", norm: str = "dataset-wise") -> Published:
    w, b, d, c = draw.usual()
    log = draw(1, scale=0.3)
    hooks = ("blocks.3.hook_resid_post", "blocks.3.hook_resid_post")
    if norm == "dataset-wise":
        hooks = ("blocks.3.hook_resid_mid", "blocks.3.hook_mlp_out")
    config = {"act_fn": act, "norm_activation": norm, "top_k": 5, "sparsity_include_decoder_norm": True}
    config |= {"hook_point_in": hooks[0], "hook_point_out": hooks[1], "use_decoder_bias": True}
    write_json(root / "config.json", config)
    lengths = {hooks[0]: np.float32(9.5), hooks[1]: np.float32(2.25)}
    tensors = {"W_E": w, "b_E": b, "W_D": d, "b_D": c, "activation_function.log_jumprelu_threshold": log}
    tensors |= {f"dataset_average_activation_norm.{h}": np.array([v]) for h, v in lengths.items()}
    write_safetensors(root / "sae_weights.safetensors", tensors)
    w, b, d, c, log = wide(w, b, d, c, log)
    rank = np.linalg.norm(d, axis=1)

    def forward(x):
        s_in = s_out = np.ones((1, 1))
        if norm == "dataset-wise":
            s_in, s_out = (draw.dim**0.5 / float(lengths[hook]) for hook in hooks)
        elif norm == "token-wise":
            s_in = s_out = draw.dim**0.5 / np.linalg.norm(x, axis=1, keepdims=True)
        pre = (s_in * x) @ w + b
        rule = {
            "relu": lambda: np.maximum(pre, 0),
            "jumprelu": lambda: pre * (pre * rank > np.exp(log)),
            "topk": lambda: np.maximum(top(pre, 5, rank), 0),
        }
        z = rule[act]()
        return z, (z @ d + c) / s_out

    return Published(root, root / "sae_weights.safetensors", forward)


def openai(root: Path, draw: Draw, act: str = "TopK") -> Published:
    w, b, d, c = draw.usual()
    file = root / "gpt2-small" / "resid_delta_mlp_v5_32k" / "autoencoders" / "8.pt"
    state = {"encoder.weight": w.T.copy(), "decoder.weight": d.T.copy(), "pre_bias": c, "latent_bias": b}
    state |= {"activation": act, "stats_last_nonzero": np.zeros(draw.atoms, dtype=np.int64)}
    state["activation_state_dict"] = {"k": 7, "postact_fn": "ReLU"} if act == "TopK" else {}
    write_torch(file, state)
    w, b, d, c = wide(w, b, d, c)

    def forward(x):
        if act == "ReLU":
            z = np.maximum((x - c) @ w + b, 0)
            return z, z @ d + c
        n, mean, std = row_norm(x)
        z = np.maximum(top((n - c) @ w + b, 7), 0)
        return z, (z @ d + c) * std + mean

    return Published(file, file, forward)


def goodfire_r1(root: Path, draw: Draw) -> Published:
    w, b, _, c = draw.usual()
    file = root / "DeepSeek-R1-SAE-l37.pt"
    write_torch(file, {"W": w, "b_enc": b, "b_dec": c})
    w, b, c = wide(w, b, c)

    def forward(x):
        z = np.maximum(top(x @ w + b, 5), 0)
        return z, z @ w.T + c

    return Published(file, file, forward, {"k": 5})


def goodfire_llama(root: Path, draw: Draw) -> Published:
    w, b, d, c = draw.usual()
    file = root / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    names = {"encoder_linear.weight": w.T.copy(), "encoder_linear.bias": b}
    write_torch(file, names | {"decoder_linear.weight": d.T.copy(), "decoder_linear.bias": c})
    w, b, d, c = wide(w, b, d, c)

    def forward(x):
        z = np.maximum(x @ w + b, 0)
        return z, z @ d + c

    return Published(file, file, forward)


def qwen_scope(root: Path, draw: Draw) -> Published:
    w, b, d, c = draw.usual()
    file = root / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_5" / "layer4.sae.pt"
    write_torch(file, {"W_enc": w.T.copy(), "W_dec": d.T.copy(), "b_enc": b, "b_dec": c})
    w, b, d, c = wide(w, b, d, c)

    def forward(x):
        z = top(x @ w + b, 5)
        return z, z @ d + c

    return Published(file, file, forward)


def transcoders(root: Path, draw: Draw, skips: bool = False) -> Published:
    w, b, d, c = draw.usual()
    skip = draw(draw.dim, draw.dim, scale=0.3)
    file = root / "layer_3.safetensors"
    tensors = {"W_enc": w.T, "b_enc": b, "b_dec": c, "W_dec": d.T if skips else d}
    write_safetensors(file, tensors | ({"W_skip": skip} if skips else {}))
    w, b, d, c, skip = wide(w, b, d, c, skip)

    def forward(x):
        z = np.maximum(x @ w + b, 0)
        return z, z @ d + c + (x @ skip.T if skips else 0)

    return Published(file, file, forward)
