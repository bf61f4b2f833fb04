"""Tests of Mainspring; a package so that harnesses run as ``python -m tests.crash``."""
