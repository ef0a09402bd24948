from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("rimo", deadline=None)
settings.load_profile("rimo")
