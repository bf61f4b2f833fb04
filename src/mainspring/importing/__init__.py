"""Other systems' schedules, read as entries of schedule files.

Here: pure readers, a file a system; each says of every entry what became of it, and refuses what it cannot say faithfully. Nothing
of the source is run, and nothing is created: ``apply`` does that. Not here: writing files, showing fires (``cli/importing.py``).
"""
