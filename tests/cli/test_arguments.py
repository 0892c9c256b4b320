"""What is said about a wrong word after a command."""

import os
from dataclasses import dataclass
from typing import Literal

import pytest
import tyro

from pairlens.cli.arguments import read_arguments
from support.commands import run

WRONG = {
    "train crcle": "pairlens train does not know 'crcle'; did you mean circle?",
    "train crcle --gamma 3": "pairlens train does not know 'crcle'; did you mean circle?",
    "train circle triplet": "pairlens train cannot take 'triplet' beside 'circle'; give one of them",
    "train xyz": "pairlens train does not know 'xyz'; pairlens train --help lists what it has",
    "train circle --feature_dmi 3": "pairlens train has no option --feature_dmi; did you mean --feature_dim?",
    "train circle --margn=3": "pairlens train has no option --margn; did you mean --margin?",
    "train --qqq": "pairlens train has no option --qqq; pairlens train --help lists what it has",
    "train --gamma 3": "--gamma is an option of circle, pooled_circle, soft_triple; name one of them, or see pairlens train "
    "--help",
    "train --stride prt": "--stride must be one of port, paper, none, not 'prt'; did you mean port?",
    "train --stride xyz": "--stride must be one of port, paper, none, not 'xyz'",
    "train --miner hrdest": "--miner: there is no miner hrdest; did you mean hardest?",
    "train --feature_dim many": "--feature_dim/--dim must be a whole number, not 'many'",
    "train --learning_rate fast": "--learning_rate must be a number, not 'fast'",
    "train --feature_dim": "--feature_dim/--dim needs a value; pairlens train --help says which",
    "train --recipe circel_cub": "there is no recipe 'circel_cub'; did you mean circle_cub?",
    "train --gd_config sg": "--descriptors 'sg' must be one to three different letters of S (mean), M (max) and G (GeM), "
    "did you mean SG?",
    "query": "pairlens query needs PATH, the folder of a run; pairlens query --help says how to write it",
    "query runs/mine --indx ivf": "pairlens query has no option --indx; did you mean --index?",
    "query runs/mine more": "pairlens query does not know 'more'; pairlens query --help lists what it has",
    "prepare --data_name cbu": "--data_name 'cbu' is not a reader; did you mean cub?",
    "recipes circel_cub": "there is no recipe 'circel_cub'; did you mean circle_cub?",
    "explain crcle": "there is no loss crcle; did you mean circle?",
    "audit circle:gama=3": "the loss circle has an unknown key 'gama'; did you mean gamma?",
    "compare --losses circle triplet --metric mapr": "--metric mapr is not measured; did you mean MAP@R?",
    "compare --losses crcle triplet": "there is no loss crcle; did you mean circle?",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_word_is_one_sentence_and_status_2(words, capsys, monkeypatch):
    # Sentences are not broken, however narrow the terminal is.
    monkeypatch.setenv("COLUMNS", "40")
    assert run(*words.split()) == 2
    assert capsys.readouterr().err == f"pairlens: {WRONG[words]}\n"


def test_a_misspelt_third_party_loss_may_be_one_of_pairlens(capsys):
    assert run("audit", "crcle:gamma=64") == 2
    assert capsys.readouterr().err.endswith("; did you mean circle?\n")


@dataclass(frozen=True)
class Record:
    """A record of options."""

    kind: Literal["fast", "slow"] = "fast"
    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("--size must be at least 1")


def test_a_record_is_returned():
    assert read_arguments(Record, ["--kind", "slow", "--size", "4"], "program") == Record("slow", 4)


def test_the_reason_of_a_record_is_passed_on():
    with pytest.raises(ValueError, match="--size must be at least 1"):
        read_arguments(Record, ["--size", "0"], "program")


def test_a_function_is_called_only_by_the_caller():
    calls = []

    def command(name: tyro.conf.Positional[str], times: int = 1) -> None:
        """Note a call."""
        calls.append((name, times))

    call = read_arguments(command, ["x", "--times", "2"], "program")
    assert calls == []
    call()
    assert calls == [("x", 2)]


def test_an_error_of_the_command_is_none_of_its_options():
    def command() -> None:
        """Fail."""
        raise SystemExit(3)

    with pytest.raises(SystemExit) as end:
        read_arguments(command, [], "program")()
    assert end.value.code == 3


def test_the_width_of_the_terminal_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    with pytest.raises(ValueError, match="no option --siez; did you mean --size"):
        read_arguments(Record, ["--siez", "3"], "program")
    assert os.environ["COLUMNS"] == "50"
