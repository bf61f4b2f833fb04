"""The benchmarks: what bare SQL could do, what we do, what the peers do, all in one run on one machine.

Numbers here are ratios to be rerun, never timed tests.  Nothing in this package is imported by the library.
"""
