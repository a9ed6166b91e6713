"""Write a Gemma 3 model of 1 MB with random weights: `python tiny_gemma3.py FILE`. Needs gguf and numpy.

Its replies are random text, but it is a real Gemma 3 graph in a real server: chats, streams and grammars work.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, HEAD_WIDTH, INNER, CONTEXT = 64, 6, 4, 16, 128, 2048
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def write_model(path: str) -> None:
    gguf: Any = import_module("gguf")  # installed only in the environment of the llama.cpp server
    kind_of = gguf.TokenType
    random = np.random.default_rng(0)
    pieces = ["\u2581", *map(chr, range(33, 127)), "user", "model", "the", "true", "false"]
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    kinds = [kind_of.CONTROL] * len(SPECIAL) + [kind_of.BYTE] * 256 + [kind_of.NORMAL] * len(pieces)
    kinds[SPECIAL.index("<unk>")] = kind_of.UNKNOWN
    scores = [0.0] * (len(SPECIAL) + 256) + [-1.0 - index / 100 for index in range(len(pieces))]

    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_name("tiny-gemma3")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(512)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores(scores)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(SPECIAL.index("<bos>"))
    writer.add_eos_token_id(SPECIAL.index("<eos>"))
    writer.add_eot_token_id(SPECIAL.index("<end_of_turn>"))
    writer.add_unk_token_id(SPECIAL.index("<unk>"))
    writer.add_pad_token_id(SPECIAL.index("<pad>"))
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)

    def make_weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.08).astype(np.float32)

    shapes = {
        "attn_q": (HEADS * HEAD_WIDTH, WIDTH),
        "attn_k": (HEAD_WIDTH, WIDTH),
        "attn_v": (HEAD_WIDTH, WIDTH),
        "attn_output": (WIDTH, HEADS * HEAD_WIDTH),
        "ffn_gate": (INNER, WIDTH),
        "ffn_up": (INNER, WIDTH),
        "ffn_down": (WIDTH, INNER),
    }
    norms = dict.fromkeys(("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), WIDTH)
    norms |= {"attn_q_norm": HEAD_WIDTH, "attn_k_norm": HEAD_WIDTH}
    writer.add_tensor("token_embd.weight", make_weights(len(tokens), WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name, width in norms.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", make_weights(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write_model(sys.argv[1])
