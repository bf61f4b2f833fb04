"""Tasks for child processes of the payload tests: the module that a child imports by name."""

from __future__ import annotations

from typing import Any

import pydantic

from mainspring import App, Context

app = App("versioned")


class Login(pydantic.BaseModel):
    """A model that writes its secret on purpose."""

    user: str
    password: pydantic.SecretStr

    @pydantic.field_serializer("password")
    def _written(self, value: pydantic.SecretStr) -> str:
        return value.get_secret_value()


@app.task(name="greet", version=3, executor="process")
def greet(name: str, greeting: str) -> str:
    """Version 1 had ``who``; version 2 had ``name`` without a greeting."""
    return f"{greeting} {name}"


@greet.upcast(from_version=1)
def renamed(payload: dict[str, Any]) -> dict[str, Any]:
    """``who`` became ``name``."""
    return {"name": payload["who"]}


@greet.upcast(from_version=2)
def greeted(payload: dict[str, Any]) -> dict[str, Any]:
    """A greeting came."""
    return payload | {"greeting": "hello"}


@app.task(name="large", executor="process")
def large(text: str) -> str:
    """As much as it was given."""
    return text


@app.task(name="login", executor="process", max_attempts=1)
def login(ctx: Context, form: Login) -> None:
    """Fails, and says too much."""
    ctx.heartbeat({"saved": "by a child"})
    raise ValueError(f"{form.user} may not come in with {form.password.get_secret_value()}; token=abc123")
