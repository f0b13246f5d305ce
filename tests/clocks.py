"""Give a process another time of the day than the machine has, as a machine with a wrong clock would.

The package faketime shifts the clock that waits are counted by too, and lets threads of Python wait for hours.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long offset(void) { const char *s = getenv("CLOCK_OFFSET_S"); return s ? atol(s) : 0; }

int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, t);
  if (!r && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += offset();
  return r;
}

int gettimeofday(struct timeval *t, void *zone) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
  int r = real(t, zone);
  if (!r && t) t->tv_sec += offset();
  return r;
}

time_t time(time_t *p) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (p) *p = t.tv_sec;
  return t.tv_sec;
}
"""


class CannotShift(Exception):
    """Clocks cannot be shifted here; the message says why."""


def shifted(folder: Path, seconds: int) -> dict[str, str]:
    """The environment of a process whose time of the day is `seconds` later (negative: earlier) than the machine's."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotShift("needs a C compiler named cc")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotShift(f"cc cannot build a library: {done.stderr.strip()[-200:]}")
    return {"LD_PRELOAD": str(library), "CLOCK_OFFSET_S": str(seconds)}
