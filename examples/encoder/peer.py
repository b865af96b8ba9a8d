"""The encoder on ONNX Runtime with fused operators, built from the same weights: what ours is held to.

    peer.py MODEL golden < testdata/golden.jsonl > FILE
    peer.py MODEL serve WORKERS    # a child process of 'encoder bench'

MODEL is the folder with model.safetensors and vocab.txt. It needs numpy, onnx, onnxruntime, safetensors and tokenizers.
Golden data are a text a line, with the ids of its tokens and its vector, which are made anew. Requests of the bench are lines of JSON: a list of
batches, which are lists of texts, which are lists of ids, is answered by their "vectors", texts of a batch being padded;
then a number computes them so many times, after once for the caches, and is answered by the mean "seconds".
"""

import base64
import json
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

LAYERS, HEADS, DIM, EPSILON = 6, 12, 384, 1e-12


def build(folder):
    """The model as ONNX: ids and the length of each text give the vectors of the tokens."""
    w = load_file(os.path.join(folder, "model.safetensors"))
    nodes, initializers = [], []

    def constant(x):
        name = f"w{len(initializers)}"
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(x), name))
        return name

    def node(op, inputs, domain="com.microsoft", **attributes):
        name = f"x{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], domain=domain, **attributes))
        return name

    def norm(name):
        return [constant(w[name + ".weight"]), constant(w[name + ".bias"])]

    def weight(name):
        return constant(w[name + ".weight"].T)

    e = "embeddings."
    x = node("EmbedLayerNormalization", [
        "ids", "kinds",
        *(constant(w[f"{e}{name}_embeddings.weight"]) for name in ("word", "position", "token_type")),
        *norm(e + "LayerNorm")], epsilon=EPSILON)
    nodes[-1].output.append("unused")  # it is not optional
    for i in range(LAYERS):
        p = f"encoder.layer.{i}."
        qkv = [p + "attention.self." + name for name in ("query", "key", "value")]
        heads = node("Attention", [
            x, constant(np.concatenate([w[n + ".weight"].T for n in qkv], 1)),
            constant(np.concatenate([w[n + ".bias"] for n in qkv])), "lengths"], num_heads=HEADS)
        y = node("MatMul", [heads, weight(p + "attention.output.dense")], domain="")
        x = node("SkipLayerNormalization", [
            y, x, *norm(p + "attention.output.LayerNorm"),
            constant(w[p + "attention.output.dense.bias"])], epsilon=EPSILON)
        y = node("MatMul", [x, weight(p + "intermediate.dense")], domain="")
        y = node("BiasGelu", [y, constant(w[p + "intermediate.dense.bias"])])
        y = node("MatMul", [y, weight(p + "output.dense")], domain="")
        x = node("SkipLayerNormalization", [
            y, x, *norm(p + "output.LayerNorm"), constant(w[p + "output.dense.bias"])], epsilon=EPSILON)
    ids = [helper.make_tensor_value_info(n, TensorProto.INT32, ["batch", "len"]) for n in ("ids", "kinds")]
    lengths = helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"])
    out = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "len", DIM])
    graph = helper.make_graph(nodes, "encoder", [*ids, lengths], [out], initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


class Encoder:
    def __init__(self, folder, workers):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = workers
        self.session = onnxruntime.InferenceSession(
            build(folder).SerializeToString(), options, providers=["CPUExecutionProvider"])

    def inputs(self, batch):
        lengths = np.array([len(ids) for ids in batch], np.int32)
        ids = np.zeros((len(batch), lengths.max()), np.int32)
        for row, x in zip(ids, batch):
            row[: len(x)] = x
        return {"ids": ids, "kinds": np.zeros_like(ids), "lengths": lengths}

    def run(self, inputs):
        return self.session.run(None, inputs)[0]

    def vectors(self, batch):
        sums = [x[: len(ids)].astype(np.float64).sum(0) for x, ids in zip(self.run(self.inputs(batch)), batch)]
        return [(x / np.linalg.norm(x)).astype(np.float32) for x in sums]


def golden(folder):
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(os.path.join(folder, "vocab.txt"))
    tokenizer.enable_truncation(512)
    encoder = Encoder(folder, 1)
    for line in sys.stdin:
        text = json.loads(line)["text"]
        ids = tokenizer.encode(text).ids
        vector = base64.b64encode(encoder.vectors([ids])[0].astype("<f4").tobytes()).decode()
        print(json.dumps({"text": text, "ids": ids, "vector": vector}, ensure_ascii=False))


def serve(folder, workers):
    encoder = Encoder(folder, workers)
    prepared = []

    def run():
        for inputs in prepared:
            encoder.run(inputs)

    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, list):
            prepared = [encoder.inputs(batch) for batch in request]
            answer = {"vectors": [x.tolist() for batch in request for x in encoder.vectors(batch)]}
        else:
            run()
            start = time.perf_counter()
            for _ in range(request):
                run()
            answer = {"seconds": (time.perf_counter() - start) / request}
        print(json.dumps(answer), flush=True)


if sys.argv[2] == "golden":
    golden(sys.argv[1])
else:
    serve(sys.argv[1], int(sys.argv[3]))
