"""Settings of all tests: no test has a deadline, machines are as slow as they are."""

from hypothesis import settings

settings.register_profile("rimo", deadline=None)
settings.load_profile("rimo")
