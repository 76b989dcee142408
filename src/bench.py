# bench.py: the peers of make bench, PyTorch and NumPy, on the same network, with the same first weights and the same
# batches in the same order.   python3 src/bench.py torch|torch-vae|numpy THREADS DATA EPOCHS BATCH IMAGES WEIGHTS
# Prints seconds and mean training loss of each epoch, as the chapters' bench.c do.
import gzip, os, sys, time
import numpy as np

which, threads, data = sys.argv[1], int(sys.argv[2]), sys.argv[3]
epochs, batch, count = (int(a) for a in sys.argv[4:7])
sizes = [784, 400, 100, 6, 100, 400, 784]
path = data + "/train-images-idx3-ubyte"
raw = open(path, "rb").read() if os.path.exists(path) else gzip.open(path + ".gz").read()
raw = np.frombuffer(raw, np.uint8)[16:].reshape(-1, 784)
order = np.arange(count) % len(raw)
values = np.fromfile(sys.argv[7], np.float32)
W, b = [], []
for l, (i, o) in enumerate(zip(sizes, sizes[1:])):
    if which == "torch-vae" and l == 2:
        o *= 2  # mu and logvar
    W.append(values[: i * o].reshape(i, o).copy())
    b.append(values[i * o : i * o + o].copy())
    values = values[i * o + o :]

if which.startswith("torch"):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    layers = []
    for l in range(6):
        linear = torch.nn.Linear(*W[l].shape)
        linear.weight.data = torch.from_numpy(W[l].T.copy())
        linear.bias.data = torch.from_numpy(b[l])
        layers += [linear] if l in (2, 5) else [linear, torch.nn.ReLU(inplace=True)]
    net = torch.nn.Sequential(*layers)
    encoder, decoder = net[:5], net[5:]
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, foreach=True)
    images = torch.from_numpy(raw.copy()).float() / 255  # converted beforehand: the faster of the two ways
    order = torch.from_numpy(order)
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        for k in range(0, count, batch):
            x = images[order[k : k + batch]]
            kl = 0
            if which == "torch":
                logits = net(x)
            else:
                mu, logvar = encoder(x).chunk(2, dim=1)
                logits = decoder(torch.addcmul(mu, torch.exp(0.5 * logvar), torch.randn_like(mu)))
                kl = -0.5 * torch.sum(1 + logvar - mu * mu - logvar.exp())
            loss = (F.binary_cross_entropy_with_logits(logits, x, reduction="sum") + kl) / len(x)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            total += loss.detach() * len(x)
        print("%.6f %.6f" % (time.perf_counter() - began, float(total) / count), flush=True)
else:
    f = np.float32
    P = W + b
    M, V = [np.zeros_like(p) for p in P], [np.zeros_like(p) for p in P]
    step = 0
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        for k in range(0, count, batch):
            h = [raw[order[k : k + batch]].astype(f) * f(1 / 255)]
            for l in range(6):
                s = h[-1] @ W[l]
                s += b[l]
                if l not in (2, 5):
                    np.maximum(s, 0, out=s)
                h.append(s)
            s, x = h[-1], h[0]
            e = np.exp(-np.abs(s))
            total += float((np.maximum(s, 0) - s * x + np.log1p(e)).sum(dtype=np.float64))
            d = (np.where(s < 0, e, 1) / (1 + e) - x) * f(1 / len(x))
            G = [None] * 12
            for l in range(5, -1, -1):
                G[l], G[6 + l] = h[l].T @ d, d.sum(0)
                if l:
                    d = d @ W[l].T
                    if l != 3:
                        d *= h[l] > 0
            step += 1
            c1, c2 = 1 - 0.9**step, 1 - 0.999**step
            for p, g, m, v in zip(P, G, M, V):
                m *= f(0.9)
                m += f(0.1) * g
                v *= f(0.999)
                v += f(0.001) * g * g
                p -= f(1e-3 / c1) * m / (np.sqrt(v) * f(1 / np.sqrt(c2)) + f(1e-8))
        print("%.6f %.6f" % (time.perf_counter() - began, total / count), flush=True)
