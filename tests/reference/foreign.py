# SPDX-License-Identifier: Apache-2.0
"""Write `foreign.npz` and the checkpoints in `foreign/`: three small models of PyTorch.

Run it with PyTorch 2.13 installed: `python tests/reference/foreign.py`. The models are a
ResNet-18 with torchvision's names, a GPT-2 with those of Hugging Face's transformers and a
bidirectional LSTM classifier with PyTorch's own. They are written here in full, with few
channels and random weights. Each is stored twice, as `.safetensors` and as `.pt`, and
`foreign.npz` holds `model/x` and `model/y`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

FOLDER = Path(__file__).with_suffix("")
CODES = {torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL"}


class BasicBlock(nn.Module):
    """Two convolutions of torchvision's ResNet-18, with a way around them."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x):
        """Map an image to a smaller one."""
        around = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + around)


class ResNet18(nn.Module):
    """torchvision's ResNet-18 with few channels."""

    def __init__(self, channels=(3, 4, 6, 8), classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        before = channels[0]
        for number, width in enumerate(channels, 1):
            stride = 1 if number == 1 else 2
            layer = nn.Sequential(BasicBlock(before, width, stride), BasicBlock(width, width, 1))
            self.add_module(f"layer{number}", layer)
            before = width
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        """Map images to logits."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(x.mean((2, 3)))


class Conv1D(nn.Module):
    """A dense layer as GPT-2 has it: the weight is (in, out)."""

    def __init__(self, outside, inside):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inside, outside))
        self.bias = nn.Parameter(torch.empty(outside))

    def forward(self, x):
        """Map the last axis."""
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Causal self-attention with queries, keys and values from one matrix."""

    def __init__(self, size, heads, positions):
        super().__init__()
        self.heads = heads
        causal = torch.tril(torch.ones(positions, positions, dtype=torch.bool))
        self.register_buffer("bias", causal.view(1, 1, positions, positions))
        self.c_attn = Conv1D(3 * size, size)
        self.c_proj = Conv1D(size, size)

    def forward(self, x):
        """Let each token attend to those up to its own."""
        batch, time, size = x.shape
        shape = (batch, time, self.heads, size // self.heads)
        q, k, v = (part.view(shape).transpose(1, 2) for part in self.c_attn(x).split(size, 2))
        scores = q @ k.transpose(2, 3) / (size // self.heads) ** 0.5
        scores = scores.masked_fill(~self.bias[:, :, :time, :time], float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, time, size)
        return self.c_proj(y)


class MLP(nn.Module):
    """The two dense layers of a block."""

    def __init__(self, size):
        super().__init__()
        self.c_fc = Conv1D(4 * size, size)
        self.c_proj = Conv1D(size, 4 * size)

    def forward(self, x):
        """Map each token."""
        return self.c_proj(functional.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """One block of GPT-2."""

    def __init__(self, size, heads, positions):
        super().__init__()
        self.ln_1 = nn.LayerNorm(size)
        self.attn = Attention(size, heads, positions)
        self.ln_2 = nn.LayerNorm(size)
        self.mlp = MLP(size)

    def forward(self, x):
        """Map tokens."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """GPT-2 with the names of Hugging Face's `GPT2LMHeadModel`; the embedding is tied."""

    def __init__(self, vocabulary=11, positions=12, size=8, heads=2, blocks=3):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocabulary, size),
                "wpe": nn.Embedding(positions, size),
                "h": nn.ModuleList(Block(size, heads, positions) for _ in range(blocks)),
                "ln_f": nn.LayerNorm(size),
            }
        )
        self.lm_head = nn.Linear(size, vocabulary, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens):
        """Map tokens to logits of the next."""
        t = self.transformer
        x = t.wte(tokens) + t.wpe(torch.arange(tokens.shape[1]))
        for block in t.h:
            x = block(x)
        return self.lm_head(t.ln_f(x))


class Classifier(nn.Module):
    """Two bidirectional LSTM layers over words, and a dense layer on their last states."""

    def __init__(self, vocabulary=9, size=4, hidden=5, classes=3):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.lstm = nn.LSTM(size, hidden, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, classes)

    def forward(self, tokens):
        """Map sentences to logits."""
        _, (h, _) = self.lstm(self.embedding(tokens))
        return self.fc(torch.cat([h[-2], h[-1]], 1))


def write_safetensors(path, tensors):
    """Write the format by itself, so that Rosin's reader meets another writer."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        part = tensor.contiguous().numpy().tobytes()
        place = [len(data), len(data) + len(part)]
        dtype, shape = CODES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": place}
        data += part
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def main():
    """Write all files beside this one."""
    torch.manual_seed(0)
    cases = {
        "resnet18": (ResNet18(), torch.randn(2, 3, 40, 33)),
        "gpt2": (GPT2(), torch.randint(11, (2, 7))),
        "bilstm": (Classifier(), torch.randint(9, (3, 6))),
    }
    FOLDER.mkdir(exist_ok=True)
    arrays = {}
    for name, (model, x) in cases.items():
        for path, parameter in model.named_parameters():
            centre = 1.0 if path.endswith("weight") and parameter.ndim == 1 else 0.0
            nn.init.normal_(parameter, centre, 0.3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.num_batches_tracked += 7
        model.eval()
        with torch.no_grad():
            arrays |= {f"{name}.x": x.numpy(), f"{name}.y": model(x).numpy()}
        torch.save(model.state_dict(), FOLDER / f"{name}.pt")
        write_safetensors(FOLDER / f"{name}.safetensors", model.state_dict())
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
