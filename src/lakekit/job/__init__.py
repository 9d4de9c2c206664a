"""Jobs: a YAML file of the calls that one would write in Python, bound to their signatures before Spark starts.

>>> import lakekit.job
>>> job = lakekit.job.load("configs/dms_customer.yaml", arguments={"format": "delta"})  # doctest: +SKIP
>>> lakekit.job.run(job)  # doctest: +SKIP
"""

from __future__ import annotations

from lakekit.job.plan import Plan, plan
from lakekit.job.run import open_session, run
from lakekit.job.spec import Job, load

__all__ = ["Job", "Plan", "load", "open_session", "plan", "run"]
