"""The demo: ``python -m lakekit.demo`` (or ``make demo``) applies a documented DMS file and a generated feed on every format."""
