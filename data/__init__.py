"""What lies on disk, turned into batches to train on and clips to roll out.

Models, losses and scores do not belong here; decoding and caching of pictures is in `data.store`.
"""
