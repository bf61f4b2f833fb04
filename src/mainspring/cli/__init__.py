"""The command ``mainspring``: translates what a person types into operations, and what they answer into tables or JSON.

A file a noun. Not here: anything that decides, and SQL. Heavy imports stand inside the commands that need them, so that
``mainspring --help`` answers at once.
"""
