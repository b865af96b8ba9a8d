# Trains the digits with PyTorch from the start and with the batches that it is given, and answers with the losses.
import json
import math
import sys

import torch
import torch.nn.functional as F

request = json.loads(sys.stdin.readline())
params = [torch.tensor(p, dtype=torch.float32, requires_grad=True) for p in request["Params"]]
patch, position, head = params[:3]
layers, last = params[3:-1], params[-1]
images = torch.tensor(request["Images"], dtype=torch.float32)
labels = torch.tensor(request["Labels"])
heads, epsilon = request["Heads"], request["Epsilon"]


def norm(x, gain):
    return F.rms_norm(x, (x.shape[-1],), gain[0], epsilon)


def attend(x, wq, wk, wv, wo):
    batch, tokens, dim = x.shape
    q, k, v = ((x @ w).view(batch, tokens, heads, dim // heads).transpose(1, 2) for w in (wq, wk, wv))
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).reshape(batch, tokens, dim) @ wo


adam = torch.optim.Adam(params, lr=1, betas=(0.9, 0.999), eps=1e-8)
losses = []
for batch, rate in zip(request["Batches"], request["Rates"]):
    x = images[batch] @ patch + position
    for i in range(0, len(layers), 5):
        x = x + attend(norm(x, layers[i]), *layers[i + 1:i + 5])
    loss = F.cross_entropy(norm(x, last).mean(1) @ head, labels[batch])
    losses.append(loss.item())
    assert math.isfinite(losses[-1])
    adam.zero_grad()
    loss.backward()
    adam.param_groups[0]["lr"] = rate
    adam.step()
print(json.dumps(losses))
