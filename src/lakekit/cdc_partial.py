from lakekit.cdc import judge
def plan(*a): raise SystemExit
