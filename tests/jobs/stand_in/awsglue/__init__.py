"""Stands in for AWS Glue's own package, which is on no package index in a form that runs outside Glue.

It does nothing but write down how it is called, one JSON line a call, into the file that ``GLUE_RECORD`` names.
"""

import json
import os
from pathlib import Path
from typing import Any


def record(call: str, **values: Any) -> None:
    """Write one call down."""
    with Path(os.environ["GLUE_RECORD"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"call": call, **values}) + "\n")
