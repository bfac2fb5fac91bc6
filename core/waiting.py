"""How threads wait for each other; to be imported before torch, which reads it once.

GNU's OpenMP spins for milliseconds before a waiting thread sleeps, and a thread that spins for one
which has lost its core keeps that one from getting it back. Some hundred microseconds cost nothing
where nobody else works (a tenth of it costs 15 % there) and are no worse than longer ones beside
other work (benchmarks/threads.py). Whoever has set one of the variables has decided otherwise.
"""

import os

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
TURNS = 10_000

if not any(name in os.environ for name in VARIABLES):
    os.environ["GOMP_SPINCOUNT"] = str(TURNS)
