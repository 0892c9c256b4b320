"""Prepare the data sets under a path: `python data_utils.py --data_path data`."""

from pairlens.cli.legacy import prepare

if __name__ == "__main__":
    prepare()
