"""Prints the conformance cases of ONNX's operator Attention, those of the package onnx that is installed, a JSON object a line, for
TestONNXSuite. Tensors are float32, whatever their type, in base64; float16, bfloat16, bool and these int64 fit."""

import base64
import json

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

INPUTS = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]
OUTPUTS = ["Y", "present_key", "present_value", "qk_matmul_output"]


def tensors(slots, names, arrays):
    arrays = iter(arrays)  # of the slots that have a name
    given = {slot: next(arrays) for slot, name in zip(slots, names) if name}
    return {
        slot: {"type": str(a.dtype), "shape": a.shape, "data": base64.b64encode(np.asarray(a, "<f4").tobytes()).decode()}
        for slot, a in given.items()
    }


for case in collect_testcases("Attention"):
    [node, *others] = case.model.graph.node
    if others:  # the same case, written with other operators
        continue
    [(inputs, outputs)] = case.data_sets
    print(json.dumps({
        "name": case.name,
        "attributes": {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        "inputs": tensors(INPUTS, node.input, inputs),
        "outputs": tensors(OUTPUTS, node.output, outputs),
        "rtol": case.rtol,
        "atol": case.atol,
    }))
