"""Train CGD: `python train.py --feature_dim 512 --gd_config SM`."""

from pairlens.history import train

if __name__ == "__main__":
    train()
