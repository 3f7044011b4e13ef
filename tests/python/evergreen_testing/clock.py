"""A library that moves the clock of a program."""

import shutil
import subprocess
from pathlib import Path

import pytest

#: Moves the clock by the seconds in SHIFT while the file in SHIFTED exists.
SHIM = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, id, now);
  const char *shifted = getenv("SHIFTED");
  if (id == CLOCK_REALTIME && shifted && access(shifted, F_OK) == 0) now->tv_sec += atoll(getenv("SHIFT"));
  return result;
}
"""


def build(folder: Path) -> Path:
    """Builds the library in `folder`, and returns its path, for LD_PRELOAD. Skips the test without a compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c"], check=True)
    return folder / "shim.so"
