from functools import partial

import pytest

from pairlens.core.named_function import NamedFunction, named
from pairlens.core.records import from_plain, to_plain
from pairlens.training.optimizers import OptimizerConfig, PerStep


def double(value):
    return 2 * value


def test_a_function_becomes_a_setting_with_its_importable_name():
    setting = named(double)
    assert setting.name == f"{__name__}:double"
    assert str(setting) == setting.name
    assert setting(4) == 8
    assert named(setting) is setting
    assert named("adam") == "adam"


def test_a_callable_object_has_the_name_of_its_class():
    assert named(partial(double, 3)).name == "functools:partial"
    assert named(PerStep(double)).name == "pairlens.training.optimizers:PerStep"


def test_a_stored_function_has_only_its_name_and_nothing_is_imported():
    config = OptimizerConfig(name=double)
    stored = to_plain(config)
    assert stored["name"] == {"type": "NamedFunction", "name": f"{__name__}:double"}
    opened = from_plain(OptimizerConfig, stored)
    assert opened.name == NamedFunction(f"{__name__}:double")
    with pytest.raises(ValueError, match=r":double of this run is not stored with it; resume the run in Python"):
        opened.name([])


def test_a_stored_text_that_is_no_choice_is_an_error():
    with pytest.raises(ValueError, match=r"OptimizerConfig\.name holds 'lamb', but must be one of 'adam'"):
        from_plain(OptimizerConfig, {"name": "lamb"})
