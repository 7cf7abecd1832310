"""Audit and swap on architectures that slaf never saw: tiny transformers models from their configurations, no download.

python benchmarks/surgery_architectures.py

For each: the nonlinear calls that the audit lists, what is left of the old activations after swapping all for 32-knot piecewise-linear
ones, the output's drift on the example, and whether undo gives every tensor back bitwise.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch

import slaf

NEW = "piecewise_linear(knots=32)"
TOKENS = {"input_ids": torch.randint(1, 50, (2, 8), generator=torch.Generator().manual_seed(0))}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
WORDS = SIZES | {"vocab_size": 60}
T5 = {"vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 2}
BOTH = TOKENS | {"decoder_input_ids": TOKENS["input_ids"]}
BART = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 40,
}
SEGFORMER = {
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "num_encoder_blocks": 2,
    "sr_ratios": [2, 1],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
}
WAV2VEC2 = WORDS | {
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
CLIP = {
    "text_config": WORDS | {"eos_token_id": 2},
    "vision_config": SIZES | {"image_size": 16, "patch_size": 8},
    "projection_dim": 16,
}


def pixels(size: int) -> dict[str, torch.Tensor]:
    """Two images."""
    return {"pixel_values": torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))}


MODELS: list[tuple[str, str, dict[str, Any], dict[str, torch.Tensor]]] = [
    ("BertModel", "BertConfig", WORDS, TOKENS),
    ("DistilBertModel", "DistilBertConfig", {"vocab_size": 60, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}, TOKENS),
    ("RobertaForSequenceClassification", "RobertaConfig", WORDS | {"max_position_embeddings": 40}, TOKENS),
    ("T5Model", "T5Config", T5, BOTH),
    ("T5Model", "T5Config", T5 | {"feed_forward_proj": "gated-gelu"}, BOTH),
    ("BartModel", "BartConfig", BART, TOKENS),
    ("GPT2Model", "GPT2Config", {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32}, TOKENS),
    ("GPTNeoXModel", "GPTNeoXConfig", WORDS, TOKENS),
    ("LlamaModel", "LlamaConfig", WORDS, TOKENS),
    ("Qwen2Model", "Qwen2Config", WORDS | {"num_key_value_heads": 2}, TOKENS),
    ("MixtralModel", "MixtralConfig", WORDS | {"num_key_value_heads": 2, "num_local_experts": 2}, TOKENS),
    ("MambaModel", "MambaConfig", {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}, TOKENS),
    ("ViTModel", "ViTConfig", SIZES | {"image_size": 16, "patch_size": 4}, pixels(16)),
    ("SwinModel", "SwinConfig", {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}, pixels(32)),
    ("ResNetModel", "ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}, pixels(32)),
    ("MobileNetV2Model", "MobileNetV2Config", {"depth_multiplier": 0.25}, pixels(64)),
    ("SegformerModel", "SegformerConfig", SEGFORMER, pixels(32)),
    ("CLIPModel", "CLIPConfig", CLIP, TOKENS | pixels(16)),
    ("Wav2Vec2Model", "Wav2Vec2Config", WAV2VEC2, {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(0))}),
]


def main() -> int:
    """Print the table."""
    import transformers

    transformers.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}\n")
    print(f"{'model':34} {'drift':>8}  undo     nonlinear calls")
    for model_class, config_class, options, example in MODELS:
        torch.manual_seed(0)
        model = getattr(transformers, model_class)(getattr(transformers, config_class)(**options)).eval()
        calls = Counter(site.kind for site in slaf.audit(model, example))
        swapped = slaf.swap(model, NEW, example)
        drift = swapped.slaf_report.output.relative
        missed = swapped.slaf_report.missed
        left = {site.kind for site in slaf.audit(swapped, example).activations} - {"piecewise_linear"}
        assert bool(left) == bool(missed), (left, missed)
        undone = slaf.undo(swapped).state_dict()
        same = all(torch.equal(undone[k], v) for k, v in model.state_dict().items()) and list(undone) == list(model.state_dict())
        listed = ", ".join(f"{n} {kind}" for kind, n in calls.items())
        not_swapped = f"; {len(missed)} not swapped" if missed else ""
        print(f"{model_class:34} {drift:8.1e}  {'bitwise' if same else 'DIFFERS'}  {listed}{not_swapped}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
