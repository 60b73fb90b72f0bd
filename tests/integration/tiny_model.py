"""Make a chat model with random weights, small enough for any machine: ``python tests/integration/tiny_model.py FOLDER``.

Needs torch, tokenizers and transformers, which come with vLLM; nothing is downloaded. What it says makes no sense; what a
server does with it is what it does with any Llama.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

REPOSITORY = Path(__file__).resolve().parents[2]
CONTEXT = 8192
START, END = "<|start|>", "<|end|>"
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that has read the project's own documentation: every text can be written with it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pages = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
    bpe.train_from_iterator((page.read_text(encoding="utf-8") for page in pages), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=START, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )
    fast.chat_template = TEMPLATE
    return fast


def main(folder: Path) -> None:
    words = tokenizer()
    words.save_pretrained(folder)
    tokens = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        dtype="float32",
        **tokens,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    GenerationConfig(**tokens).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
