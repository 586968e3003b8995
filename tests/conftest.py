"""What holds for all tests."""

import hypothesis

# How long an example takes is the machine's business: no test asserts a time.
hypothesis.settings.register_profile("untimed", parent=hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("untimed")
