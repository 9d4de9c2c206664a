"""An EMR step or EMR Serverless job that runs a lakekit job file: ``emr.py --job s3://…/orders.yaml --table sales.orders``."""

import sys

from lakekit import cli
from lakekit.errors import LakekitError
from lakekit.job import open_session, platform, run


def main(argv: list[str]) -> None:
    job, _ = platform.prepare(argv)
    run(job, open_session(job))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LakekitError as error:  # the step's state shows the exit code: 1 failed, 2 bad config, 3 data rejected
        print(f"lakekit: {error}", file=sys.stderr)
        sys.exit(cli.code(error))
