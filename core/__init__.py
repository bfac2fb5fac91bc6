"""What every room needs and no other room provides: processes, devices, randomness, files, errors.

Nothing here knows a setting, a data set or a model.
"""
