"""Time a dataset build against writing the same bytes to the same disk.

    python benchmarks/dataset_build.py dataset.build_arc_dataset --test-set-name evaluation \
        --input-file-prefix raw/arc/arc-agi --subsets training evaluation --num-aug 1000
    python benchmarks/dataset_build.py dataset.build_sudoku_dataset --source-repo FOLDER \
        --subsample-size 1000 --num-aug 1000

Builds and copies alternate, since disks vary from second to second. Prints seconds of each, their
ratio and the build's peak memory. The copy streams the built arrays through `dd … conv=fdatasync`
in 8 MiB blocks; the build is followed by `sync` so that both end on the disk.
"""

from __future__ import annotations

import argparse
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path


def timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("builder", help="module of the builder, dataset.build_…_dataset")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its options but --output-dir")
    args = parser.parse_args()

    print(f"{date.today()}, {platform.processor() or platform.machine()}, {platform.platform()}")
    with tempfile.TemporaryDirectory(dir=".", prefix=".dataset_build-") as scratch:
        out = Path(scratch) / "built"
        command = [sys.executable, "-m", args.builder, *args.options, "--output-dir", str(out)]
        builds, copies = [], []
        for _ in range(args.rounds):
            shutil.rmtree(out, ignore_errors=True)
            subprocess.run(["sync"], check=True)
            began = time.monotonic()
            timed(command)
            subprocess.run(["sync"], check=True)
            builds.append(time.monotonic() - began)
            files = sorted(out.rglob("*.npy"))
            size = sum(f.stat().st_size for f in files)
            copy = f"cat {' '.join(map(str, files))} | dd of={scratch}/copy bs=8M iflag=fullblock"
            copies.append(timed(["bash", "-c", f"{copy} conv=fdatasync"]))
            (Path(scratch) / "copy").unlink()
            print(f"build {builds[-1]:6.1f} s   write {copies[-1]:6.1f} s")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    ratio = statistics.median(builds) / statistics.median(copies)
    print(f"{size / 1e9:.2f} GB: build / write = {ratio:.2f} (medians), peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
