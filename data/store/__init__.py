"""Picture folders and where their decoded frames are kept: listing, decoding, cache, remote.

What the pictures show, which frames belong together and every setting is the business of `data`.
"""
