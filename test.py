"""Look up a photo in a trained data base: `python test.py --retrieval_num 10`."""

from pairlens import history

if __name__ == "__main__":
    history.test()
