"""The yardstick of `webui bench`: llama.cpp's own decode loop with nothing around it.

Runs as a child process. Knows no scheduler, no detokenizer and no socket: one context, one
batch, one sampler chain. One JSON line comes out for each JSON line that goes in, so that
runs of this loop and of the server can take turns on the same machine.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time

import llama_cpp

BATCH_TOKENS = 512


class BareLoop:
    """One model, one context, greedy about nothing but speed.

    Args:
        path: GGUF file.
        num_threads: Compute threads, for prompt and generation alike.
        context_length: Tokens of the one sequence.

    Raises:
        RuntimeError: llama.cpp refuses the file or the context.
    """

    def __init__(self, path: str, num_threads: int, context_length: int) -> None:
        llama_cpp.llama_backend_init()
        self._log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p())
        self._model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context_length
        params.n_batch = BATCH_TOKENS
        params.n_threads = params.n_threads_batch = num_threads
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError("llama.cpp cannot make a context")
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(
            llama_cpp.llama_model_get_vocab(self._model)
        )

    def run(self, num_prompt: int, num_tokens: int, seed: int) -> dict[str, float]:
        """Read `num_prompt` tokens and write `num_tokens`; return both rates in tokens/s."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)  # noqa: FBT003 - a C call
        chain = self._sampler_chain(seed)
        prompt = [
            1 + (seed * 7919 + i * 104729) % (self._vocab_size - 1) for i in range(num_prompt)
        ]
        started = time.perf_counter()
        for first in range(0, num_prompt, BATCH_TOKENS):
            self._decode(prompt[first : first + BATCH_TOKENS], first)
        token = llama_cpp.llama_sampler_sample(chain, self._context, -1)
        first_token = time.perf_counter()
        for position in range(num_prompt, num_prompt + num_tokens - 1):
            self._decode([token], position)
            token = llama_cpp.llama_sampler_sample(chain, self._context, -1)
        ended = time.perf_counter()
        llama_cpp.llama_sampler_free(chain)
        return {
            "prompt_tokens_per_s": num_prompt / (first_token - started),
            "tokens_per_s": (num_tokens - 1) / (ended - first_token),
        }

    def _decode(self, tokens: list[int], position: int) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i == len(tokens) - 1
        if code := llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode returned {code}")

    @staticmethod
    def _sampler_chain(seed: int) -> object:
        """Build the same steps that a request with default parameters gets."""
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for step in (
            llama_cpp.llama_sampler_init_top_k(40),
            llama_cpp.llama_sampler_init_top_p(0.95, 1),
            llama_cpp.llama_sampler_init_min_p(0.05, 1),
            llama_cpp.llama_sampler_init_temp(0.7),
            llama_cpp.llama_sampler_init_dist(seed),
        ):
            llama_cpp.llama_sampler_chain_add(chain, step)
        return chain


def main() -> None:
    """Serve runs: argv is path, threads, context length; stdin is one JSON object a line."""
    path, num_threads, context_length = sys.argv[1:]
    loop = BareLoop(path, int(num_threads), int(context_length))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(loop.run(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
