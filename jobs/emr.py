"""An EMR step or EMR Serverless job that runs a lakekit job file: ``emr.py --job s3://…/orders.yaml --table sales.orders``."""

import sys

from lakekit.job import cli, open_session, platform, run


def main(argv: list[str]) -> None:
    job, _ = platform.prepare(argv)
    run(job, open_session(job))


if __name__ == "__main__":
    sys.exit(cli.exit_code(lambda: main(sys.argv[1:])))
