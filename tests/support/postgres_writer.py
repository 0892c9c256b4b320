"""Adds batches of items to a PostgreSQL collection until it is killed, and prints the ids of each batch after its commit.

python tests/support/postgres_writer.py URL PREFIX BATCH
"""

import itertools
import sys

import numpy as np

from pairlens.collection.item import NewItem
from pairlens.collection.postgres_store import PostgresStore


def main(url, prefix, batch):
    store = PostgresStore.open(url)
    model = store.models()[0]
    # All equal, so that nothing has to be computed.
    vectors = np.full((batch, model.dim), model.dim**-0.5, np.float32)
    for start in itertools.count(0, batch):
        items = [NewItem("", f"{prefix}/{start + n}", f"{start + n:064x}", thumbnail=b"jpeg") for n in range(batch)]
        ids = store.add(items, vectors, model.fingerprint)
        sys.stdout.write(" ".join(map(str, ids)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
