"""Make two chat models, small enough for any machine: ``python tests/integration/tiny_model.py RANDOM RECITING``.

One has random weights: what it says makes no sense, and what a server does with it is what it does with any Llama. The other
says one sentence again and again, whatever it is asked and however it is drawn, so that tests know what comes. Needs torch,
tokenizers and transformers, which come with vLLM; nothing is downloaded.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

REPOSITORY = Path(__file__).resolve().parents[2]
# A text that never changes, so that the same models are made each time.
READ = REPOSITORY / "LICENSE"
SENTENCE = "No caption can be found for this image, nor will there be one."
CONTEXT = 8192
WIDTH = 64
START, END = "<|start|>", "<|end|>"
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that has read a page of English: every text can be written with it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([READ.read_text(encoding="utf-8")], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=START, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )
    fast.chat_template = TEMPLATE
    return fast


def llama(words: PreTrainedTokenizerFast, *, tied: bool) -> LlamaForCausalLM:
    """Return a model with random weights, the same each time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied,
        dtype="float32",
        **special(words),
    )
    return LlamaForCausalLM(config)


def recite(model: LlamaForCausalLM, sentence: Sequence[int]) -> None:
    """Let a model say one sentence for ever: after each of its tokens the next, after any other the first.

    The layers add nothing, so that the last token alone decides. Each token of the sentence has a direction of its own, and the
    one that follows is 80 above all others, which sampling at a temperature of 1 therefore never draws.
    """
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        directions = torch.zeros(model.config.vocab_size, dtype=torch.long)
        directions[torch.tensor(sentence[:-1])] = torch.arange(1, len(sentence))
        model.model.embed_tokens.weight.copy_(torch.nn.functional.one_hot(directions, WIDTH))
        model.lm_head.weight.zero_()
        model.lm_head.weight[torch.tensor(sentence), torch.arange(len(sentence))] = 10.0


def special(words: PreTrainedTokenizerFast) -> dict[str, int]:
    """Return the numbers of the tokens that begin, end and fill."""
    return {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }


def main(random: Path, reciting: Path) -> None:
    words = tokenizer()
    reciter = llama(words, tied=False)
    recite(reciter, list(dict.fromkeys(words.encode(SENTENCE, add_special_tokens=False))))
    for model, folder in ((llama(words, tied=True), random), (reciter, reciting)):
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        GenerationConfig(**special(words)).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
