import pytest

from tests.running import free_port


@pytest.fixture
def config(home, config_of):
    return config_of(
        home,
        PORT=str(free_port()),
        FREEHOLD_WEB_WORKERS="2",
        FREEHOLD_WEB_THREADS="2",
        FREEHOLD_WORKERS="2",
    )
