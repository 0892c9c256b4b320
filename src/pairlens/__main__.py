"""Entry point of `python -m pairlens`, which torchrun needs: `torchrun --nproc_per_node 2 -m pairlens train ...`."""

from pairlens.cli.main import main

if __name__ == "__main__":
    main()
