"""Attention, or products with weights, of a C++ library, timed on request: a child process of the benchmark.

    peer.py NAME    # a name of PEERS below

Requests and answers are lines of JSON. {"shape": {...}, "dir": DIR} prepares attention of the operands in
the files DIR/q, DIR/k and DIR/v, packed float32 [heads][len][dim], computes it once into DIR/out, and
answers {}. Its "mask" says that DIR/mask [queries][keys] has 1 where a key is visible ("bool") or what is added to
scores ("bias"), its "gradient" that the gradients of q, k and v are computed, of which the first is
DIR/out, from that of the output, DIR/do, and its "type" that k and v are kept in a cache as elements of that type. {"case": {...}, "dir": DIR} computes a call of package fuzz once, of which "inputs" are the
names of the operands among q, k, v, mask, bias and do, and writes its results out, lse, dq, dk, dv and dbias, as far as it has them, all packed:
[batch][heads][queries][keys] what belongs to scores. {"product": {...}, "dir": DIR} does so with DIR/a [rows][terms] and DIR/b [terms][columns], of which
b is constant, as the weights of a service are: a library may pack it beforehand. {"reps": N} computes it N times and answers {"seconds": T}. An answer {"unsupported": WHY}
refuses a shape. The first line says {"version": VERSION}.

Every library gets what makes it fastest: operands in its own layout, outputs allocated before, no copies.
"""

import json
import os
import sys
import time
from types import SimpleNamespace

import numpy as np


class Unsupported(Exception):
    pass


class Torch:
    """torch.nn.functional.scaled_dot_product_attention"""

    def __init__(self):
        import torch

        self.torch, self.version = torch, torch.__version__
        torch.set_grad_enabled(False)

    def prepare(self, s, q, k, v):
        torch = self.torch
        if s.causal and s.queries != s.keys:
            raise Unsupported("its causal mask begins at the first key")
        torch.set_num_threads(s.workers)
        q, k, v = (torch.from_numpy(x)[None] for x in (q, k, v))
        attention = torch.nn.functional.scaled_dot_product_attention
        if s.gradient is not None:
            with torch.enable_grad():
                inputs = [x.clone().requires_grad_() for x in (q, k, v)]
                out = attention(*inputs, is_causal=s.causal)
            gradient = torch.from_numpy(s.gradient)[None]
            return lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)[0]
        if s.mask is not None:
            mask = torch.from_numpy(s.mask)
            return lambda: attention(q, k, v, attn_mask=mask)
        gqa = s.heads != s.kvHeads
        return lambda: attention(q, k, v, is_causal=s.causal, enable_gqa=gqa)

    def numpy(self, out):
        return out[0].numpy()

    def case(self, c, x):
        torch = self.torch
        torch.set_num_threads(1)
        x = {name: torch.from_numpy(a) for name, a in x.items()}
        edits, causal = x.get("bias"), c.causal
        if "mask" in x or edits is not None and causal:
            if causal:
                if c.queries != c.keys:
                    raise Unsupported("its causal mask begins at the first key")
                x["mask"] = x.get("mask", torch.tensor(True)) & torch.ones(c.queries, c.keys, dtype=bool).tril()
                causal = False
        elif causal and c.queries != c.keys:
            raise Unsupported("its causal mask begins at the first key")
        inputs = {name: x[name] for name in ("q", "k", "v", "bias") if name in x}
        with torch.set_grad_enabled("do" in x):
            if "do" in x:
                for a in inputs.values():
                    a.requires_grad_()
            if "mask" in x:
                edits = x["mask"] if edits is None else edits.masked_fill(~x["mask"], -torch.inf)
            q, k, v = x["q"], x["k"], x["v"]
            if c.lse:
                group = c.heads // c.kvHeads
                k, v = (a.repeat_interleave(group, 1) for a in (k, v))
                if edits is not None and edits.dtype == torch.bool:
                    edits = torch.zeros(edits.shape).masked_fill(~edits, -torch.inf)
                out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    q, k, v, 0.0, causal, attn_mask=edits, scale=c.scale)
                return {"out": out.numpy(), "lse": lse.numpy()}
            out = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=edits, is_causal=causal, scale=c.scale, enable_gqa=c.heads != c.kvHeads)
            results = {"out": out.detach().numpy()}
            if "do" in x:
                gradients = torch.autograd.grad(out, list(inputs.values()), x["do"])
                results |= {"d" + name: a.numpy() for name, a in zip(inputs, gradients)}
        return results

    def product(self, p, a, b):
        torch = self.torch
        torch.set_num_threads(p.workers)
        x, w = torch.from_numpy(a), torch.from_numpy(b)
        transposed, out = w.t().contiguous(), torch.empty(p.rows, p.columns)
        ways = [lambda: torch.nn.functional.linear(x, transposed), lambda: torch.mm(x, w, out=out)]
        try:  # what its compiler makes of frozen weights
            packed = torch.ops.mkldnn._reorder_linear_weight(transposed, p.rows)
            ways.append(lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], ""))
        except (AttributeError, RuntimeError):
            pass
        return fastest(ways)

    def matrix(self, out):
        return out.numpy()


class OpenVINO:
    """opset13.scaled_dot_product_attention, at f32"""

    def __init__(self):
        import openvino

        self.ov, self.version = openvino, openvino.__version__
        self.core = openvino.Core()

    def prepare(self, s, q, k, v):
        ov = self.ov
        from openvino import opset13 as op

        if s.causal and s.queries != s.keys:
            raise Unsupported("its causal mask begins at the first key")
        operands = [np.ascontiguousarray(x[None]) for x in (q, k, v)]
        inputs = [op.parameter(x.shape, np.float32) for x in operands]
        repeated = list(inputs)
        group = s.heads // s.kvHeads
        if group > 1:  # the operation knows no groups: models repeat keys and values like this
            for i in (1, 2):
                x = op.unsqueeze(inputs[i], op.constant(2, np.int64))
                shape = [1, s.kvHeads, group, s.keys, s.dim]
                x = op.broadcast(x, op.constant(shape, np.int64))
                shape = [1, s.heads, s.keys, s.dim]
                repeated[i] = op.reshape(x, op.constant(shape, np.int64), False)
        if s.mask is not None:
            operands.append(s.mask)
            inputs.append(op.parameter(s.mask.shape, s.mask.dtype))
            repeated.append(inputs[-1])
        result = op.scaled_dot_product_attention(*repeated, causal=s.causal)
        return self.inference(s, result, inputs, operands, (1, s.heads, s.queries, s.dim))

    def product(self, p, a, b):
        from openvino import opset13 as op

        x = op.parameter(a.shape, np.float32)
        result = op.matmul(x, op.constant(b), False, False)
        return self.inference(p, result, [x], [a], (p.rows, p.columns))

    def inference(self, s, result, inputs, operands, shape):
        ov = self.ov
        compiled = self.core.compile_model(ov.Model([result], inputs), "CPU", {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": s.workers,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        })
        request = compiled.create_infer_request()
        for i, x in enumerate(operands):
            request.set_input_tensor(i, ov.Tensor(x, shared_memory=True))
        out = np.empty(shape, np.float32)
        request.set_output_tensor(0, ov.Tensor(out, shared_memory=True))

        def run():
            request.infer()
            return out

        run.keep = compiled, operands
        return run

    def numpy(self, out):
        return out[0]

    def matrix(self, out):
        return out


class ONNXRuntime:
    """One operator of ONNX Runtime, in a model of its own."""

    def __init__(self):
        import onnxruntime

        self.ort, self.version = onnxruntime, onnxruntime.__version__

    def session(self, s, op, domain, inputs, outputs, attributes, constants={}):
        """Returns run() of a model with the one node. inputs, constants that follow them, and outputs are
        arrays by name; an input None is absent, and an output that is an input's array is written in place."""
        from onnx import helper, numpy_helper

        def info(name, x):
            kind = helper.np_dtype_to_tensor_dtype(x.dtype)
            return helper.make_tensor_value_info(name, kind, x.shape)

        names = [name if x is not None else "" for name, x in inputs.items()]
        node = helper.make_node(op, names + list(constants), list(outputs), domain=domain, **attributes)
        inputs = {name: x for name, x in inputs.items() if x is not None}
        graph = helper.make_graph(
            [node], "operator",
            [info(n, x) for n, x in inputs.items()], [info(n, x) for n, x in outputs.items()],
            [numpy_helper.from_array(x, n) for n, x in constants.items()])
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=11)
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = s.workers
        options.log_severity_level = 4
        session = self.ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = {id(x): self.ort.OrtValue.ortvalue_from_numpy(x)
                  for x in [*inputs.values(), *outputs.values()]}
        binding = session.io_binding()
        for name, x in inputs.items():
            binding.bind_ortvalue_input(name, values[id(x)])
        for name, x in outputs.items():
            binding.bind_ortvalue_output(name, values[id(x)])
        out = values[id(next(iter(outputs.values())))]

        def run():
            session.run_with_iobinding(binding)
            return out

        run.keep = session, values, inputs, outputs
        return run

    @staticmethod
    def joined(x):
        """[heads][len][dim] as [1][len][heads*dim]"""
        return np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(1, x.shape[1], -1)


class MultiHeadAttention(ONNXRuntime):
    """com.microsoft.MultiHeadAttention"""

    def prepare(self, s, q, k, v):
        if s.heads != s.kvHeads:
            raise Unsupported("no groups")
        if s.causal and s.queries != s.keys:
            raise Unsupported("its causal mask begins at the first key")
        self.heads = s.heads
        q, k, v = self.joined(q), self.joined(k), self.joined(v)
        inputs = {"q": q, "k": k, "v": v}
        if s.mask is not None:
            if s.mask.dtype == bool:
                raise Unsupported("masks of keys only")
            inputs |= {"bias": None, "padding": None, "mask": s.mask[None, None]}
        return self.session(
            s, "MultiHeadAttention", "com.microsoft", inputs,
            {"out": np.empty_like(q)}, {"num_heads": s.heads, "unidirectional": int(s.causal)})

    def numpy(self, out):
        x = out.numpy()[0]
        return x.reshape(x.shape[0], self.heads, -1).transpose(1, 0, 2)


class GroupQueryAttention(MultiHeadAttention):
    """com.microsoft.GroupQueryAttention, which is causal, over a cache that it appends to in place"""

    caches = True

    def prepare(self, s, q, k, v):
        if not s.causal and s.queries > 1:
            raise Unsupported("always causal")
        if s.dim % 8:
            raise Unsupported("its heads have a multiple of 8 elements")
        if s.mask is not None:
            raise Unsupported("no masks")
        if s.type == "bfloat16":
            raise Unsupported("not on CPUs")
        self.heads = s.heads
        past = s.keys - s.queries
        dtype = np.float16 if s.type == "float16" else np.float32
        attributes, caches, scales = {"num_heads": s.heads, "kv_num_heads": s.kvHeads}, {}, {}
        for name, x in (("key", k), ("value", v)):
            x = x[None].astype(dtype)
            if s.type == "int8":  # one scale for all is its fastest way
                scale = np.abs(x).max(keepdims=True).reshape(1) / np.float32(127)
                scales[name + "_scale"] = scale
                x = np.round(x / scale).astype(np.int8)
                attributes |= {name[0] + "_quant_type": "PER_TENSOR", "kv_cache_bit_width": 8}
            cache = np.zeros_like(x)
            cache[0, :, :past] = x[0, :, :past]
            caches[name] = cache
        q, k, v = (self.joined(x).astype(dtype) for x in (q, k[:, past:], v[:, past:]))
        inputs = {"q": q, "k": k, "v": v, "past_key": caches["key"], "past_value": caches["value"],
                  "seqlens_k": np.array([s.keys - 1], np.int32),
                  "total_sequence_length": np.array([s.keys], np.int32)}
        if scales:
            inputs |= {name: None for name in ("cos", "sin", "position_ids", "bias", "sink")} | scales
        return self.session(
            s, "GroupQueryAttention", "com.microsoft", inputs,
            {"out": np.empty_like(q), "present_key": caches["key"], "present_value": caches["value"]}, attributes)

    def case(self, c, x):
        if not c.causal and c.queries > 1 or c.queries > c.keys:
            raise Unsupported("always causal")
        if c.batch > 1 and c.queries not in (1, c.keys):
            raise Unsupported("one batch member")
        if c.dim % 8 or c.vdim != c.dim:
            raise Unsupported("heads of a multiple of 8 elements, values as long as keys")
        bias = x.get("bias")
        if "mask" in x:
            bias = np.where(x["mask"], 0 if bias is None else bias, np.float32(-np.inf))
        past = c.keys - c.queries

        def joined(x):  # [batch][heads][len][dim] as [batch][len][heads*dim]
            return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(c.batch, x.shape[2], -1)

        caches = {}
        for name in ("k", "v"):
            caches[name] = x[name].copy()
            caches[name][:, :, past:] = 0
        inputs = {"q": joined(x["q"]), "k": joined(x["k"][:, :, past:]), "v": joined(x["v"][:, :, past:]),
                  "past_key": caches["k"], "past_value": caches["v"],
                  "seqlens_k": np.full(c.batch, c.keys - 1, np.int32),
                  "total_sequence_length": np.array([c.keys], np.int32)}
        if bias is not None:
            inputs |= {"cos": None, "sin": None, "position_ids": None, "bias": bias.astype(np.float32)}
        out = np.empty((c.batch, c.queries, c.heads * c.dim), np.float32)
        run = self.session(
            c, "GroupQueryAttention", "com.microsoft", inputs,
            {"out": out, "present_key": caches["k"], "present_value": caches["v"]},
            {"num_heads": c.heads, "kv_num_heads": c.kvHeads, "scale": float(c.scale), "softcap": float(c.softCap)})
        return {"out": run().numpy().reshape(c.batch, c.queries, c.heads, c.dim).transpose(0, 2, 1, 3).copy()}


class GGML:
    """ggml_flash_attn_ext, without a mask, as the library in the wheel of pywhispercpp has it"""

    caches = True
    types = {None: 0, "float32": 0, "float16": 1, "bfloat16": 30, "int8": 8}  # of enum ggml_type; the last one is Q8_0

    def __init__(self):
        import ctypes
        import glob
        from importlib.util import find_spec

        self.c, pointer = ctypes, ctypes.c_void_p
        directory = os.path.join(os.path.dirname(find_spec("_pywhispercpp").origin), "pywhispercpp.libs")

        def load(name):
            return ctypes.CDLL(glob.glob(os.path.join(directory, name + "*"))[0], mode=ctypes.RTLD_GLOBAL)

        load("libgomp")
        self.base, self.cpu = load("libggml-base-"), load("libggml-cpu-")

        class Init(ctypes.Structure):
            _fields_ = [("size", ctypes.c_size_t), ("buffer", pointer), ("no_alloc", ctypes.c_bool)]

        class Plan(ctypes.Structure):
            _fields_ = [("size", ctypes.c_size_t), ("work", pointer), ("threads", ctypes.c_int),
                        ("pool", pointer), ("abort", pointer), ("data", pointer), ("more", pointer * 8)]

        def declare(library, name, result, *arguments):
            f = getattr(library, name)
            f.restype, f.argtypes = result, arguments

        int64, real = ctypes.c_int64, ctypes.c_float
        declare(self.base, "ggml_version", ctypes.c_char_p)
        declare(self.base, "ggml_init", pointer, Init)
        declare(self.base, "ggml_free", None, pointer)
        declare(self.base, "ggml_new_tensor_4d", pointer, pointer, ctypes.c_int, int64, int64, int64, int64)
        declare(self.base, "ggml_get_data", pointer, pointer)
        declare(self.base, "ggml_quantize_chunk", ctypes.c_size_t, ctypes.c_int, pointer, pointer, int64, int64, int64, pointer)
        declare(self.base, "ggml_flash_attn_ext", pointer, *[pointer] * 5, real, real, real)
        declare(self.base, "ggml_new_graph", pointer, pointer)
        declare(self.base, "ggml_build_forward_expand", None, pointer, pointer)
        declare(self.cpu, "ggml_graph_plan", Plan, pointer, ctypes.c_int, pointer)
        declare(self.cpu, "ggml_graph_compute", ctypes.c_int, pointer, pointer)
        self.Init, self.context = Init, None
        self.cpu.ggml_cpu_init()
        self.version = self.base.ggml_version().decode()

    def prepare(self, s, q, k, v):
        ggml, ctypes = self.base, self.c
        if s.queries > 8:
            raise Unsupported("asked to decode only")
        if s.causal and s.queries > 1:
            raise Unsupported("causal by a mask only")
        if s.mask is not None:
            raise Unsupported("masks of float16 only")
        typ = self.types[s.type]
        if typ and s.dim % 32:
            raise Unsupported("blocks of 32 elements")
        if self.context:
            ggml.ggml_free(self.context)
        self.context = ggml.ggml_init(self.Init(q.nbytes * 2 + k.nbytes + v.nbytes + (16 << 20), None, False))
        tensors = []
        for x, t in ((q, 0), (k, typ), (v, typ)):
            heads, n, dim = x.shape
            tensor = ggml.ggml_new_tensor_4d(self.context, t, dim, n, heads, 1)
            data = ggml.ggml_get_data(tensor)
            if t:
                ggml.ggml_quantize_chunk(t, x.ctypes.data, data, 0, heads * n, dim, None)
            else:
                ctypes.memmove(data, x.ctypes.data, x.nbytes)
            tensors.append(tensor)
        out = ggml.ggml_flash_attn_ext(self.context, *tensors, None, s.dim**-0.5, 0, 0)
        graph = ggml.ggml_new_graph(self.context)
        ggml.ggml_build_forward_expand(graph, out)
        plan = self.cpu.ggml_graph_plan(graph, s.workers, None)
        work = np.empty(plan.size + 64, np.uint8)
        plan.work = (work.ctypes.data + 63) & -64
        result = np.ctypeslib.as_array(
            ctypes.cast(ggml.ggml_get_data(out), ctypes.POINTER(ctypes.c_float)), (s.queries, s.heads, s.dim))

        def run():
            self.cpu.ggml_graph_compute(graph, ctypes.byref(plan))
            return result

        run.keep = work
        return run

    def numpy(self, out):
        return out.transpose(1, 0, 2)


class Attention(ONNXRuntime):
    """ai.onnx.Attention, version 23"""

    def prepare(self, s, q, k, v):
        if s.causal and s.queries != s.keys:
            raise Unsupported("its causal mask begins at the first key")
        q, k, v = (np.ascontiguousarray(x[None]) for x in (q, k, v))
        inputs = {"q": q, "k": k, "v": v}
        if s.mask is not None:
            inputs["mask"] = s.mask
        return self.session(
            s, "Attention", "", inputs,
            {"out": np.empty_like(q)}, {"is_causal": int(s.causal)})

    def numpy(self, out):
        return out.numpy()[0]

    def case(self, c, x):
        if c.causal and c.queries != c.keys:
            raise Unsupported("its causal mask begins at the first key")
        mask = x.get("mask")
        if "bias" in x:
            mask = x["bias"] if mask is None else np.where(mask, x["bias"], np.float32(-np.inf))
        if mask is not None and c.softCap:
            raise Unsupported("version 23 caps what masks and biases have been added to")
        inputs = {"q": x["q"], "k": x["k"], "v": x["v"]}
        if mask is not None:
            inputs["mask"] = mask
        out = np.empty((c.batch, c.heads, c.queries, c.vdim), np.float32)
        run = self.session(
            c, "Attention", "", inputs, {"out": out},
            {"is_causal": int(c.causal), "scale": float(c.scale), "softcap": float(c.softCap)})
        return {"out": run().numpy().copy()}  # which goes with run

    def product(self, p, a, b):
        """ai.onnx.MatMul with an initializer, which is packed when the session begins"""
        return self.session(
            p, "MatMul", "", {"a": a}, {"out": np.empty((p.rows, p.columns), np.float32)}, {}, {"b": b})

    def matrix(self, out):
        return out.numpy()


def fastest(ways):
    """Of several ways to the same result the fastest."""
    best = {}
    for _ in range(5):
        for way in ways:
            way()
            start = time.perf_counter()
            way()
            best[way] = min(best.get(way, np.inf), time.perf_counter() - start)
    return min(ways, key=best.get)


PEERS = {
    "torch": Torch,
    "openvino": OpenVINO,
    "ort-mha": MultiHeadAttention,
    "ort-gqa": GroupQueryAttention,
    "ort-attention": Attention,
    "ggml": GGML,
}


def main():
    # Answers have a pipe of their own: libraries print.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**x):
        print(json.dumps(x), file=answers, flush=True)

    peer = PEERS[sys.argv[1]]()
    answer(version=peer.version)
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if "reps" in request:
            start = time.perf_counter()
            for _ in range(request["reps"]):
                run()
            answer(seconds=time.perf_counter() - start)
            continue
        run = None  # frees the one before

        def operand(name, *shape):
            return np.fromfile(os.path.join(request["dir"], name), np.float32).reshape(shape)

        try:
            if "case" in request:
                c = SimpleNamespace(**request["case"])
                if not hasattr(peer, "case"):
                    raise Unsupported("no cases")
                q, kv, scores = (c.batch, c.heads, c.queries), (c.batch, c.kvHeads, c.keys), (c.batch, c.heads, c.queries, c.keys)
                shapes = {"q": (*q, c.dim), "k": (*kv, c.dim), "v": (*kv, c.vdim), "do": (*q, c.vdim), "mask": scores, "bias": scores}
                x = {name: operand(name, *shapes[name]) for name in c.inputs}
                if "mask" in x:
                    x["mask"] = x["mask"] == 1
                for name, result in peer.case(c, x).items():
                    np.ascontiguousarray(result).tofile(os.path.join(request["dir"], name))
                answer()
                continue
            if "product" in request:
                p = SimpleNamespace(**request["product"])
                if not hasattr(peer, "product"):
                    raise Unsupported("no products")
                run = peer.product(p, operand("a", p.rows, p.terms), operand("b", p.terms, p.columns))
                out = peer.matrix(run())
            else:
                s = SimpleNamespace(**({"mask": None, "gradient": None, "type": None} | request["shape"]))
                if s.type and not hasattr(peer, "caches"):
                    raise Unsupported("no cache")
                if s.mask is not None:
                    kind, s.mask = s.mask, operand("mask", s.queries, s.keys)
                    if kind == "bool":
                        s.mask = s.mask == 1
                if s.gradient is not None:
                    if not isinstance(peer, Torch):
                        raise Unsupported("no gradients")
                    s.gradient = operand("do", s.heads, s.queries, s.dim)
                run = peer.prepare(s, operand("q", s.heads, s.queries, s.dim),
                                   operand("k", s.kvHeads, s.keys, s.dim), operand("v", s.kvHeads, s.keys, s.dim))
                out = peer.numpy(run())
            np.ascontiguousarray(out, np.float32).tofile(os.path.join(request["dir"], "out"))
            answer()
        except Unsupported as e:
            answer(unsupported=str(e))


main()
