"""A tiny config of every architecture of transformers with a head for sequence classification. Entry: `make_config`."""

from transformers import AutoConfig, PreTrainedConfig

NUM_LAYERS = 4
VOCABULARY_SIZE = 64
# Every name by which some config calls a size; a config takes those that it has.
SIZES: dict[str, object] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "true_hidden_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), NUM_LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("intermediate_size", "d_inner", "hidden_dim", "ffn_dim", "dff", "n_inner"), 32),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "intra_bottleneck_size"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "rotary_dim", "sliding_window", "local_attention"), 4),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "v_head_dim", "head_dim"), 8),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(("num_experts_per_tok", "type_vocab_size"), 2),
    "vocab_size": VOCABULARY_SIZE,
    "num_labels": 3,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "cls_token_id": 0,
    "sep_token_id": 2,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# What an architecture needs beside or instead of these.
OTHERS: dict[str, dict[str, object]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE}},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16},
    "axk1": {"head_dim": 4},
    "deepseek_v3": {"head_dim": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "lilt": {"hidden_size": 24, "num_attention_heads": 2, "channel_shrink_ratio": 4},
    "longformer": {"attention_window": [4, 8, 4, 8]},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "xlnet": {"d_head": 8},
}


def make_config(model_type: str) -> PreTrainedConfig:
    """4 layers of width 16."""
    config_class = type(AutoConfig.for_model(model_type))
    names = config_class().to_dict().keys() | config_class.attribute_map.keys()
    values = {name: value for name, value in SIZES.items() if name in names or name == "num_labels"}
    values |= OTHERS.get(model_type, {})
    for name, own_name in config_class.attribute_map.items():
        if own_name in values:
            values.pop(name, None)
    return config_class(**values)
