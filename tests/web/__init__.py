"""The HTTP server: its conventions, its nouns, its streams, its document."""
