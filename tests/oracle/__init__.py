"""The brute-force oracle of cron: every wall time of some days is looked at by itself, and the library's own zones say what it is.

`test_oracle.py` takes a sample with every run of the checks; the whole is `python -m tests.oracle`.
"""
