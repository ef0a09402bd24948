"""Settings of all tests: no deadline, for machines are as slow as they are."""

from hypothesis import settings

from lib_rimo import environment

environment.share_the_cores()
settings.register_profile("rimo", deadline=None)
settings.load_profile("rimo")
