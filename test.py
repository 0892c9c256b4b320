"""Look up a photo in a trained data base: `python test.py --retrieval_num 10`."""

from pairlens.cli.legacy import look_up

if __name__ == "__main__":
    look_up()
