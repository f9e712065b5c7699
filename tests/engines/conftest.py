"""The tests of the networks and of the engines run over the same list."""

from tests.models.conftest import backbones, pytest_generate_tests, small

__all__ = ["backbones", "pytest_generate_tests", "small"]
