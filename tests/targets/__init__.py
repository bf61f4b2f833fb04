"""Tests of the built-in targets: real servers on loopback, real processes."""
