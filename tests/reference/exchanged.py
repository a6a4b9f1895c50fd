# SPDX-License-Identifier: Apache-2.0
"""Write `exchanged/*` and `exchanged.npz`: files of `gguf` and `onnx`, and their numbers.

Run it with gguf 0.19, onnx 1.23 and NumPy 2 installed: `python tests/reference/exchanged.py`.
"""

from pathlib import Path

import gguf
import numpy as np
import onnx
from gguf.quants import dequantize, quantize
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent / "exchanged"
PLAIN = ("F32", "F16", "BF16")
QUANTISED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
OF_256 = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}  # where the scales of a block stand


def blocks(kind, scales, draw):
    """Draw rows of random blocks, which `gguf` reads but does not write, with finite scales."""
    _, size = gguf.GGML_QUANT_SIZES[kind]
    data = draw.integers(0, 256, (3, 2 * size), np.uint8)
    for at in scales:
        places = data.reshape(-1, size)[:, at : at + 2]
        places[:] = draw.normal(size=(6, 1)).astype(np.float16).view(np.uint8)
    return data


def write_gguf(path):
    """Write one tensor of each type, and return the numbers of each."""
    draw = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(5)
    writer.add_token_list(["a", "b", "<0x0A>"])
    writer.add_token_scores([0.0, 1.0, 2.0])
    writer.add_chat_template("{{ messages }}")
    arrays = {}
    for name in (*PLAIN, *QUANTISED, *OF_256):
        kind = gguf.GGMLQuantizationType[name]
        whole = name in OF_256
        data = (
            blocks(kind, OF_256[name], draw) if whole else quantize(draw.normal(size=(3, 64)), kind)
        )
        writer.add_tensor(name, data, raw_dtype=kind)
        arrays[f"gguf/{name}"] = dequantize(data, kind).astype(np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return arrays


def write_onnx(path):
    """Write initialisers in every kind of field, and return their numbers."""
    initialisers = [
        numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "weight"),
        helper.make_tensor("bias", TensorProto.FLOAT, [3], [1.0, 2.5, -3.0]),
        helper.make_tensor("whole", TensorProto.INT64, [2], [-5, 2**40]),
        helper.make_tensor("half", TensorProto.FLOAT16, [2], [1.5, -2.0]),
        helper.make_tensor("truth", TensorProto.BOOL, [2], [True, False]),
        helper.make_tensor("double", TensorProto.DOUBLE, [], [0.1]),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], alpha=0.5, transB=0),
        helper.make_node("Constant", [], ["word"], value_string="a"),
    ]
    sizes = {"x": ["batch", 2], "y": ["batch", 3]}
    values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sizes.items()}
    graph = helper.make_graph(nodes, "main", [values["x"]], [values["y"]], initialisers)
    onnx.save(helper.make_model(graph, producer_name="tests"), path)
    return {f"onnx/{one.name}": numpy_helper.to_array(one) for one in initialisers}


def main():
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    arrays = write_gguf(FOLDER / "model.gguf") | write_onnx(FOLDER / "model.onnx")
    np.savez_compressed(FOLDER.with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
