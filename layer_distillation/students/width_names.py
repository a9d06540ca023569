"""Whose each weight of an architecture is: which axis counts hidden dimensions, heads or feed-forward units."""

from dataclasses import dataclass, replace

from transformers import PreTrainedConfig

from layer_distillation.embedding.modules import get_modules


@dataclass(frozen=True)
class WidthNames:
    """Where the weights are: of attention and feed-forward below a layer, of the head below the model.

    `pooled`: what reads the encoder's output, and what reads that; None where nothing is between encoder and labels.
    `biases_by_head`: a table with a column per head, which all layers share.
    """

    queries: str
    keys_values: tuple[str, str]
    attention_output: str
    units_input: tuple[str, ...]
    units_output: str
    pooled: tuple[str, str] | None
    biases_by_head: str | None = None
    has_own_head_size: bool = False


def name_bert_layer(attention: str, output: str, pooled: tuple[str, str], biases: str | None = None) -> WidthNames:
    """BERT's names, and those of the many models that are built like it."""
    query, key, value = (f"attention.{name}" for name in attention.split())
    units = ("intermediate.dense",)
    return WidthNames(query, (key, value), f"attention.{output}", units, "output.dense", pooled, biases)


IN_BERT = "self.query self.key self.value"
ROBERTA = name_bert_layer(IN_BERT, "output.dense", ("classifier.dense", "classifier.out_proj"))
LLAMA = WidthNames(
    *("self_attn.q_proj", ("self_attn.k_proj", "self_attn.v_proj"), "self_attn.o_proj"),
    *(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj", None),
    has_own_head_size=True,
)
# model type -> names; of other architectures no narrower student can be cut
WIDTH_NAMES = {
    "bert": name_bert_layer(IN_BERT, "output.dense", ("bert.pooler.dense", "classifier")),
    "ernie": name_bert_layer(IN_BERT, "output.dense", ("ernie.pooler.dense", "classifier")),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "electra": ROBERTA,
    "mpnet": name_bert_layer(
        *("attn.q attn.k attn.v", "attn.o", ("classifier.dense", "classifier.out_proj")),
        biases="mpnet.encoder.relative_attention_bias",
    ),
    "distilbert": WidthNames(
        *("attention.q_lin", ("attention.k_lin", "attention.v_lin"), "attention.out_lin"),
        *(("ffn.lin1",), "ffn.lin2", ("pre_classifier", "classifier")),
    ),
    "llama": LLAMA,
    "qwen3": LLAMA,
}


def get_width_names(config: PreTrainedConfig) -> WidthNames:
    """Of a sentence encoder, which has no head, without what is behind the layers."""
    names = WIDTH_NAMES[config.model_type]
    return names if get_modules(config) is None else replace(names, pooled=None)


UNITS_CONFIG_NAMES = {"distilbert": "hidden_dim"}
