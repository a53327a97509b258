"""Time the ARC dataset build against writing the same bytes to the same disk.

    python benchmarks/arc_build.py --input-file-prefix kaggle/combined/arc-agi \
        --subsets training evaluation --test-set-name evaluation --num-aug 1000

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
    parser.add_argument("--input-file-prefix", required=True)
    parser.add_argument("--subsets", nargs="+", required=True)
    parser.add_argument("--test-set-name", required=True)
    parser.add_argument("--num-aug", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    builder = [sys.executable, "-m", "dataset.build_arc_dataset"]
    for name in ("input_file_prefix", "test_set_name", "num_aug"):
        builder += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    builder += ["--subsets", *args.subsets]
    print(f"{date.today()}, {platform.processor() or platform.machine()}, {platform.platform()}")
    with tempfile.TemporaryDirectory(dir=".", prefix=".arc_build-") as scratch:
        out = Path(scratch) / "built"
        builds, copies = [], []
        for _ in range(args.rounds):
            shutil.rmtree(out, ignore_errors=True)
            subprocess.run(["sync"], check=True)
            began = time.monotonic()
            timed([*builder, "--output-dir", str(out)])
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
