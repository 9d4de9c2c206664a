"""As ``awsglue.job``."""

from awsglue import record
from awsglue.context import GlueContext


class Job:
    """Glue's job: bookmarks are read from ``init`` and saved by ``commit``."""

    def __init__(self, glue_context: GlueContext) -> None:
        assert isinstance(glue_context, GlueContext)

    def init(self, job_name: str, args: dict[str, str]) -> None:
        """Py4J hands the arguments over as java.util.Map<String, String>: anything but text fails on Glue."""
        assert all(isinstance(text, str) for pair in args.items() for text in pair)
        record("init", job=job_name, args=args)

    def commit(self) -> None:
        """Save the bookmark."""
        record("commit")
