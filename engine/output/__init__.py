"""What a run or a test leaves to look at: GIFs, MP4s, strips, the submission and the logs.

No checkpoints, no run folders, and nothing is predicted or scored here.
"""
