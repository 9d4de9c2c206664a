"""Another process that upserts when told to: the one that gets killed, and the rival of a race.

Run as ``python -m tests.contract.writer WAREHOUSE FORMAT...``. It says ``ready``, then obeys one JSON line after the other. A line is a
list of orders, which it carries out side by side; it answers each with one JSON line when it is done. ``Writer`` is its handle in
the test's process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]
Order = dict[str, Any]


class Writer:
    """A handle on a writer process and its JVM; they form one process group, so that one signal ends both."""

    def __init__(self, warehouse: str, formats: Iterable[str], log: Path) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.writer", warehouse, *formats],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        self._ready = False

    def wait_until_ready(self) -> Writer:
        """Wait for the session to stand."""
        if not self._ready:
            assert self._answer() == {"ready": True}
            self._ready = True
        return self

    def tell(self, *orders: Order) -> None:
        """Send orders to be carried out side by side, without waiting for what becomes of them."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the oldest unanswered order."""
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = _stdout(self._process).readline()
        if not line:
            raise RuntimeError(f"the writer died; see {self._log.name}")
        return dict(json.loads(line))

    def kill(self) -> list[dict[str, Any]]:
        """SIGKILL the whole group; gives the answers that nobody has read."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        whole = [line for line in _stdout(self._process) if line.endswith("\n")]
        self._process.wait()
        self._log.close()
        return [json.loads(line) for line in whole]

    def close(self) -> None:
        """End the process, whatever it does."""
        self.kill()


def _stdout(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def serve(warehouse: str, *formats: str) -> None:
    """Obey orders from standard input until it ends."""
    import lakekit as lk
    from lakekit.testing.plugin import QUICK
    from tests.evaluation import INTERPRETED

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but answers goes to the other side: the JVM inherits standard output and writes there too
    spark = lk.session(*formats, warehouse=warehouse, app_name="lakekit-writer", conf={**QUICK, **INTERPRETED})
    _say(answers, {"ready": True})
    saying = threading.Lock()

    def work(order: Order, session: SparkSession) -> None:
        answer = {"table": order["table"], **_obey(session, order)}
        with saying:
            _say(answers, answer)

    for line in sys.stdin:
        first, *others = json.loads(line)
        # What lakekit sets for a statement is the session's, so those that work side by side have one each.
        beside = [threading.Thread(target=work, args=(order, spark.newSession())) for order in others]
        for thread in beside:
            thread.start()
        work(first, spark)
        for thread in beside:
            thread.join()


def _obey(spark: SparkSession, order: Order) -> dict[str, Any]:
    """Carry an order out; the answer says what became of it."""
    import lakekit as lk

    table = lk.Table(spark, order["table"], format=order["format"])
    feed = lk.changes(spark.read.parquet(order["batch"]), **order["described"])
    time.sleep(max(0.0, order.get("at", 0.0) - time.time()))
    started = time.time()
    try:
        commit = getattr(table, order["verb"])(feed, **order["told"])
        return {"commit": commit.as_dict(), "seconds": time.time() - started}
    except lk.errors.CommitConflict as conflict:
        return {"conflict": str(conflict), "seconds": time.time() - started}
    except lk.LakekitError as error:
        traceback.print_exc()  # the chained cause goes to the log
        return {"error": f"{type(error).__name__}: {error}", "seconds": time.time() - started}


def _say(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
