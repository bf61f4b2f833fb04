"""At home in other frameworks: what their users would otherwise write again and again. One module each, imported by those alone who
use that framework; not here: what every program needs.
"""
