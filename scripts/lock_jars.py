"""Write src/lakekit/jars.lock anew: fetch every coordinate of the runtimes table, check Maven's SHA-1, record SHA-256 and size.

Usage: python scripts/lock_jars.py DIR      (DIR keeps the jars; run it after a version in lakekit.runtimes changed)
"""

from __future__ import annotations

import hashlib
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from lakekit.jars import repository, sha256
from lakekit.maven import Jar
from lakekit.runtimes import RUNTIMES

LOCK = Path(__file__).parents[1] / "src" / "lakekit" / "jars.lock"
HEADER = "# sha256 size coordinate, made by scripts/lock_jars.py from files whose SHA-1 Maven's repository confirms\n"


def coordinates() -> list[str]:
    """Every coordinate that any runtime names, in name order."""
    groups = [build.coordinates for runtime in RUNTIMES.values() for build in runtime.formats.values()]
    groups += [extra for runtime in RUNTIMES.values() for extra in runtime.extras.values()]
    return sorted({coordinate for group in groups for coordinate in group})


def fetch(jar: Jar, folder: Path) -> Path:
    """Fetch one jar and compare it with the SHA-1 that the repository publishes."""
    path, url = folder / jar.file_name, f"{repository()}/{jar.path}"
    if not path.is_file():
        urllib.request.urlretrieve(url, path)
    with urllib.request.urlopen(f"{url}.sha1") as response:
        published = response.read().decode().split()[0]
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha1").hexdigest() != published:
            raise SystemExit(f"{jar.coordinate}: SHA-1 differs from the published one; delete {path} and run again")
    return path


def main(folder: Path) -> None:
    """Fetch all and write the lock file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for coordinate in coordinates():
        print(coordinate, flush=True)
        path = fetch(Jar.parse(coordinate), folder)
        lines.append(f"{sha256(path)} {path.stat().st_size} {coordinate}\n")
    LOCK.write_text(HEADER + "".join(lines), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
