"""Which rank should the embedding have?  Asked of the matrix that ships, the digits left out of it.

    python benchmarks/rank_of_embedding.py

For each of the 18 tasks, the embedding is made from the tasks of the other alphabets, 8
configurations are chosen by D-optimal design, and the rest predicted.  Prints means over tasks.
"""

import numpy as np

from refimpl import data
from refimpl.peppp import frontier, meta_training
from refimpl.peppp.design import d_optimal
from refimpl.peppp.embedding import svd_embedding
from refimpl.peppp.estimate import predict

MEASUREMENTS = 8


def scores(rank):
    """Return budget regret, regret and root-mean-square error of prediction of each task."""
    every = meta_training(data.load("digits"))
    for name, true, memory in zip(every.rows, every.values, every.memory_mb, strict=True):
        others = meta_training(data.load(name))
        embedding = svd_embedding(others.values, rank)
        chosen = d_optimal(embedding, MEASUREMENTS)
        predicted = predict(embedding, chosen, true[chosen])
        yield (
            frontier.budget_regret(memory, true, predicted),
            frontier.regret(true, frontier.recommend(memory, predicted)),
            np.sqrt(np.mean((predicted - true) ** 2)),
        )


def main():
    """Print the table."""
    print(f"{MEASUREMENTS} measurements, leaving out one alphabet at a time; mean over 18 tasks")
    print("rank  budget regret   regret   rms error of prediction")
    for rank in range(1, 7):
        found = np.mean(list(scores(rank)), axis=0)
        print(f"{rank:>4}  {found[0]:>13.4f} {found[1]:>8.4f} {found[2]:>14.4f}")


if __name__ == "__main__":
    main()
