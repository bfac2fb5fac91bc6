"""How threads wait for each other; to be imported before torch, which reads it once.

OpenMP's threads spin while they wait, and a thread that waits so for one which has lost its core
keeps that one from getting it back. Asleep they give the core away (benchmarks/threads.py).
Whoever has set one of the variables has decided otherwise.
"""

import os

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

if not any(name in os.environ for name in VARIABLES):
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
