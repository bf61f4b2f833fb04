# ops.py
from mainspring import App

app = App("ops")
