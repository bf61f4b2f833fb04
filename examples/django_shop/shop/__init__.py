"""The shop's one application: orders."""
