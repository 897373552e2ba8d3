"""Settings of the tiny models: sizes, tables of configs, and the words of their tokenizer."""

from __future__ import annotations

WORDS = (
    "<pad> <bos> <unk> <eos> the a cat dog Monday Tuesday Wednesday Thursday Friday Saturday Sunday today is "
    "was on in of and red blue green sat ran mat house after before comes day week one two three four five "
    "six seven king queen man woman Paris France Rome Italy capital city . , ?"
).split()
VOCAB = len(WORDS)
PAD, BOS, EOS = 0, 1, 3  # CLIP reads an <eos> of 2 as a sign of old weights, and pools differently
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
LLM = SIZES | {"vocab_size": VOCAB, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
LLAMA = LLM | {"num_key_value_heads": 2, "max_position_embeddings": 64}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 4}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0, "attn_implementation": "eager"}
LAYERS = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
SINKS = {"head_dim": 8, "sliding_window": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
IMAGE = SIZES | {"image_size": 32, "patch_size": 8}
REGISTERS = IMAGE | {"mlp_ratio": 2, "num_register_tokens": 3}
CLIP_TEXT = SIZES | {"vocab_size": VOCAB, "max_position_embeddings": 16, "projection_dim": 24}
CLIP_TEXT |= {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
SIGLIP_TEXT = CLIP_TEXT | {"projection_size": 32}
TUBES = {"num_frames": 4, "tubelet_size": 2}
JEPA = {"hidden_size": 64, "patch_size": 8, "crop_size": 16, "frames_per_clip": 4}
JEPA |= {"pred_hidden_size": 32, "pred_num_attention_heads": 4, "pred_num_hidden_layers": 2}
JEPA |= {"tubelet_size": 2, "mlp_ratio": 2, "pred_num_mask_tokens": 2, "pred_mlp_ratio": 2.0}
VAE = {"block_out_channels": (8, 8), "norm_num_groups": 4, "sample_size": 16, "latent_channels": 4}
VAE |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
UNET = {"sample_size": 16, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 8}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

# family: (config class, its settings, model class)
LLMS = {
    "llama": ("LlamaConfig", LLAMA, "LlamaForCausalLM"),
    "mistral": ("MistralConfig", LLAMA | {"sliding_window": 4}, "MistralForCausalLM"),
    "qwen3": ("Qwen3Config", LLAMA | {"head_dim": 16}, "Qwen3ForCausalLM"),
    "gemma2": ("Gemma2Config", LLAMA | GEMMA | CAPS, "Gemma2ForCausalLM"),
    "gemma3": ("Gemma3TextConfig", LLAMA | GEMMA | LAYERS, "Gemma3ForCausalLM"),
    "gpt2": ("GPT2Config", LLM | {"n_positions": 64, "n_inner": 48}, "GPT2LMHeadModel"),
    "gpt_neox": ("GPTNeoXConfig", LLM | {"max_position_embeddings": 64}, "GPTNeoXForCausalLM"),
    "opt": ("OPTConfig", LLAMA | {"ffn_dim": 48, "word_embed_proj_dim": 32}, "OPTForCausalLM"),
    "phi3": ("Phi3Config", LLAMA, "Phi3ForCausalLM"),
    "mixtral": ("MixtralConfig", LLAMA | EXPERTS, "MixtralForCausalLM"),
    "gpt_oss": ("GptOssConfig", LLAMA | EXPERTS | SINKS, "GptOssForCausalLM"),
}
VISION = {
    "vit": ("ViTConfig", IMAGE, "ViTModel"),
    "deit": ("DeiTConfig", IMAGE, "DeiTModel"),
    "dinov2": ("Dinov2Config", IMAGE | {"mlp_ratio": 2}, "Dinov2Model"),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", REGISTERS, "Dinov2WithRegistersModel"),
    "dinov3_vit": ("DINOv3ViTConfig", REGISTERS, "DINOv3ViTModel"),
    "vit_mae": ("ViTMAEConfig", IMAGE | {"mask_ratio": 0.5}, "ViTMAEModel"),
    "siglip_vision": ("SiglipVisionConfig", IMAGE, "SiglipVisionModel"),
    "clip_vision": ("CLIPVisionConfig", IMAGE, "CLIPVisionModel"),
}
PACKED = SIZES | {"patch_size": 8, "num_patches": 16}
TWO_TOWERS = {
    "clip": (
        "CLIPConfig",
        {"text_config": CLIP_TEXT, "vision_config": IMAGE | {"projection_dim": 24}, "projection_dim": 24},
        "CLIPModel",
    ),
    "siglip": ("SiglipConfig", {"text_config": SIGLIP_TEXT, "vision_config": IMAGE}, "SiglipModel"),
    "siglip2": (
        "Siglip2Config",
        {"text_config": SIGLIP_TEXT, "vision_config": PACKED},
        "Siglip2Model",
    ),
}
VIDEO = {
    "videomae": ("VideoMAEConfig", IMAGE | TUBES | {"use_mean_pooling": False}, "VideoMAEModel"),
    "vjepa2": ("VJEPA2Config", SIZES | JEPA, "VJEPA2Model"),
    "timesformer": ("TimesformerConfig", IMAGE | {"image_size": 16, "num_frames": 3}, "TimesformerModel"),
}
