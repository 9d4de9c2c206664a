"""An AWS Glue job that runs a lakekit job file: ``--job s3://…/orders.yaml`` and whatever ``${arg:NAME}`` the file asks for."""

import sys

from lakekit.job import open_session, platform, run


def main(argv: list[str]) -> None:
    job, arguments = platform.prepare(argv)
    glue = platform.glue_job(arguments.named)
    run(job, open_session(job), run_id=arguments.named.get("JOB_RUN_ID"))
    if glue is not None:
        glue.commit()  # only now: what a failed run has read must be offered again


if __name__ == "__main__":
    main(sys.argv[1:])  # errors are left to Glue, whose console shows the message of an exception but no exit code
