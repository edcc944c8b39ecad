"""The oracle under the name that tests have always used; it lives in `pipelines.oracle`."""

from pipelines.oracle import *  # noqa: F403
