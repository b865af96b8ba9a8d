"""The language model on CTranslate2 in float32, with the weights of the same file: what ours is held to.

    peer.py MODEL golden < testdata/golden.jsonl > FILE
    peer.py MODEL serve THREADS    # a child process of 'generate bench'

MODEL is the folder with the GGUF file. It needs ctranslate2, gguf, numpy and tokenizers. Golden data are a prompt a line,
with its tokens, some logits behind it and the tokens that follow greedily, which are made anew. Requests of the bench are
lines of JSON: ids with a number, which is how many tokens to generate behind them, 0 to read them alone. They are answered
by the "seconds", and by the tokens.
"""

import json
import os
import sys
import tempfile
import time

import ctranslate2
import gguf
import numpy as np
from ctranslate2.specs import Activation, TransformerDecoderModelSpec
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NEW, LOGITS = 32, 16


def read(folder):
    reader = gguf.GGUFReader(os.path.join(folder, FILE))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    weights = {t.name: gguf.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
    return fields, weights


def convert(fields, w):
    layers = fields["llama.block_count"]
    spec = TransformerDecoderModelSpec.from_config(
        layers, fields["llama.attention.head_count"], activation=Activation.SWISH, pre_norm=True, ffn_glu=True,
        rms_norm=True, rotary_dim=0, rotary_interleave=True, rotary_base=fields["llama.rope.freq_base"],
        num_heads_kv=fields["llama.attention.head_count_kv"])
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = w["token_embd.weight"]
    decoder.projection.weight = w["token_embd.weight"]
    decoder.layer_norm.gamma = w["output_norm.weight"]
    for i, layer in enumerate(decoder.layer):
        p = f"blk.{i}."
        layer.self_attention.layer_norm.gamma = w[p + "attn_norm.weight"]
        layer.self_attention.linear[0].weight = np.concatenate([w[f"{p}attn_{x}.weight"] for x in "qkv"])
        layer.self_attention.linear[1].weight = w[p + "attn_output.weight"]
        layer.ffn.layer_norm.gamma = w[p + "ffn_norm.weight"]
        layer.ffn.linear_0.weight = w[p + "ffn_gate.weight"]
        layer.ffn.linear_0_noact.weight = w[p + "ffn_up.weight"]
        layer.ffn.linear_1.weight = w[p + "ffn_down.weight"]
    spec.register_vocabulary(fields["tokenizer.ggml.tokens"])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = fields["tokenizer.ggml.tokens"][2]
    spec.config.layer_norm_epsilon = fields["llama.attention.layer_norm_rms_epsilon"]
    spec.validate()
    return spec


class Peer:
    def __init__(self, folder, threads):
        self.fields, weights = read(folder)
        self.tokens = self.fields["tokenizer.ggml.tokens"]
        with tempfile.TemporaryDirectory() as directory:
            convert(self.fields, weights).save(directory)
            self.generator = ctranslate2.Generator(
                directory, device="cpu", compute_type="float32", inter_threads=1, intra_threads=threads)

    def names(self, ids):
        return [self.tokens[i] for i in ids]

    def logits(self, ids):
        return np.array(self.generator.forward_batch([self.names(ids)]))[0]

    def generate(self, ids, n):
        result = self.generator.generate_batch(
            [self.names(ids)], max_length=n, min_length=n, sampling_topk=1, include_prompt_in_result=False, end_token=[])
        return result[0].sequences_ids[0]


def golden(folder):
    peer = Peer(folder, 1)
    vocabulary = {token: i for i, token in enumerate(peer.tokens)}
    merges = [tuple(merge.split(" ")) for merge in peer.fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    for line in sys.stdin:
        prompt = json.loads(line)["prompt"]
        ids = tokenizer.encode(prompt).ids
        logits = peer.logits(ids)[-1]
        best = np.argsort(-logits)[:LOGITS]
        print(json.dumps({
            "prompt": prompt, "ids": ids, "best": best.tolist(), "logits": [round(float(logits[i]), 5) for i in best],
            "next": peer.generate(ids, NEW)}, ensure_ascii=False))


def serve(folder, threads):
    peer = Peer(folder, threads)
    for line in sys.stdin:
        ids, n = json.loads(line)
        start = time.perf_counter()
        if n > 0:
            tokens = peer.generate(ids, n)
        else:
            tokens = []
            peer.generator.forward_batch([peer.names(ids)], return_log_probs=False)
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": tokens}), flush=True)


if sys.argv[2] == "golden":
    golden(sys.argv[1])
else:
    serve(sys.argv[1], int(sys.argv[3]))
