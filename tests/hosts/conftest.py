import pytest

from lib_rimo.hosts.detection import connect


@pytest.fixture
def host(fake):
    """The adapter for the test's fake WebUI, at work."""
    host = connect()
    host.install()
    yield host
    host.uninstall()
