"""Looking at runs: their figures, a page to play their rollouts, and sweeps of several runs.

Reads what a run and the Tester leave in their folders, nothing else; the engine never imports it.
"""
