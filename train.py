"""Train CGD: `python train.py --feature_dim 512 --gd_config SM`."""

from pairlens.cli.legacy import train

if __name__ == "__main__":
    train()
