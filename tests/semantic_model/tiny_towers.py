"""Towers of a few random numbers, saved as Hugging Face saves them: a sentence encoder, a CLIP, a SigLIP."""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = (
    "show me a the i want hello please red blue green black dress shirt jacket color type no ones only how about this"
)
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PLACES = 12
PIXELS = 16


@cache
def sentence_encoder() -> Path:
    """A BERT with a tokenizer."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder = _folder("bert", first="[CLS]", last="[SEP]", pad="[PAD]", tokenizer_class="BertTokenizer")
    BertModel(BertConfig(vocab_size=99, max_position_embeddings=40, **SMALL)).save_pretrained(folder)
    return folder


@cache
def clip(end: int = 2) -> Path:
    """A CLIP, whose end mark is the highest piece, as CLIP's is, and also what it pads with."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    folder = _folder("clip", first="<|startoftext|>", last="<|endoftext|>", pad="<|endoftext|>", last_id=98)
    marks = {"bos_token_id": 97, "eos_token_id": end, "pad_token_id": 98}
    config = CLIPConfig(
        text_config={**SMALL, "vocab_size": 99, "max_position_embeddings": PLACES, **marks},
        vision_config={**SMALL, "hidden_size": 24, "image_size": PIXELS, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    square = {"height": PIXELS, "width": PIXELS}
    CLIPImageProcessor(size={"shortest_edge": PIXELS}, crop_size=square).save_pretrained(folder)
    return folder


@cache
def siglip() -> Path:
    """A SigLIP, which reads its last place, padded with the end mark."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    folder = _folder("siglip", first=None, last="</s>", pad="</s>")
    config = SiglipConfig(
        text_config={**SMALL, "vocab_size": 99, "max_position_embeddings": PLACES},
        vision_config={**SMALL, "image_size": PIXELS, "patch_size": 8},
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": PIXELS, "width": PIXELS}).save_pretrained(folder)
    return folder


def _folder(name: str, *, first: str | None, last: str, pad: str, last_id: int | None = None, **kind: str) -> Path:
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: row for row, word in enumerate(WORDS.split(), 5)}
    marks = list(dict.fromkeys([pad, "[UNK]", *([first] if first else []), last]))
    vocabulary |= {mark: row for row, mark in enumerate(marks)}
    if last_id is not None:
        vocabulary[last] = last_id
        vocabulary[str(first)] = last_id - 1
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{first or ''} $A {last}".strip(),
        special_tokens=[(mark, vocabulary[mark]) for mark in marks if mark in (first, last)],
    )
    kept = tempfile.TemporaryDirectory(prefix=f"tiny-{name}-")
    atexit.register(kept.cleanup)
    folder = Path(kept.name)
    marked = {"unk_token": "[UNK]", "pad_token": pad, "eos_token": last}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marked).save_pretrained(folder)
    return folder
