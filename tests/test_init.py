"""What ``import nas`` offers."""

import nas
from nas import errors


def test_every_name_is_listed_and_loads():
    assert set(nas.__all__) <= set(dir(nas))
    assert set(nas._HOMES) == set(nas.__all__)
    for name in nas.__all__:
        assert getattr(nas, name) is not None


def test_confirm_is_the_function_and_errors_the_module():
    assert callable(nas.confirm)
    assert nas.errors is errors
