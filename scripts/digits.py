"""The demo's job: trains a softmax regression on handwritten digits with numpy, inside the container.

Reads /inputs/data, scikit-learn's digits.csv.gz: 1,797 rows of 64 grey values (0 to 16) and the digit. Writes /outputs/weights.npz and
/outputs/metrics.json. Seeded, so the same machine gives the same result.
"""

import gzip
import json
from pathlib import Path

import numpy as np

EPOCHS, BATCH, RATE, DECAY, TEST_SHARE = 60, 32, 0.1, 1e-4, 0.2


def main() -> None:
    rng = np.random.default_rng(7)
    with gzip.open("/inputs/data") as file:
        rows = np.loadtxt(file, delimiter=",")
    rng.shuffle(rows)
    pixels, digits = rows[:, :64] / 16, rows[:, 64].astype(int)
    cut = int(len(rows) * TEST_SHARE)
    weights, bias = np.zeros((64, 10)), np.zeros(10)
    train, labels = pixels[cut:], np.eye(10)[digits[cut:]]
    for epoch in range(EPOCHS):
        order = rng.permutation(len(train))
        for start in range(0, len(train), BATCH):
            some = order[start : start + BATCH]
            scores = train[some] @ weights + bias
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            error = scores / scores.sum(axis=1, keepdims=True) - labels[some]
            weights -= RATE * (train[some].T @ error / len(some) + DECAY * weights)
            bias -= RATE * error.mean(axis=0)
        if epoch % 20 == 19:
            print(
                f"epoch {epoch + 1}: accuracy {accuracy(pixels[:cut], digits[:cut], weights, bias):.4f}",
                flush=True,
            )
    metrics = {
        "accuracy": accuracy(pixels[:cut], digits[:cut], weights, bias),
        "trained_on": len(train),
        "tested_on": cut,
    }
    np.savez(Path("/outputs/weights.npz"), weights=weights, bias=bias)
    Path("/outputs/metrics.json").write_text(json.dumps(metrics, sort_keys=True))
    print(json.dumps(metrics), flush=True)


def accuracy(pixels: np.ndarray, digits: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    """The share of digits told right."""
    return float(np.mean((pixels @ weights + bias).argmax(axis=1) == digits))


if __name__ == "__main__":
    main()
