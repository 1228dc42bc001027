"""Hypothesis writes nothing into the repository, which may be mounted read-only."""

import tempfile

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(tempfile.mkdtemp(prefix="hypothesis-"))
settings.register_profile("no database", database=None)
settings.load_profile("no database")
