"""What a program tells of itself to those who watch it: spans (``tracing``) and metrics (``metrics``). Both are optional, and
nothing of their libraries is imported unless the program asked for it.
"""
