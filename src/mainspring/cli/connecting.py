"""From flags to something to talk to: the settings in force, a client of the database, the App that ``MODULE:APP`` names.

Not here: what is then asked of them.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring import config
from mainspring.errors import ConfigurationInvalid, StorageUnavailable, StorageUnwritable

if TYPE_CHECKING:
    from mainspring.app import App
    from mainspring.client import Client

AppName = Annotated[str, typer.Argument(metavar="MODULE:APP", help="where the App is, such as shop:app", show_default=False)]

#: What importing somebody's module may raise; all of it is shown as a message with the place in their code.
_IMPORT_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The global options as they were typed; None where one was not."""

    database: str | None = None
    namespace: str | None = None
    log_level: str | None = None
    transport: str | None = None

    def settings(self) -> dict[str, config.Value]:
        """Every setting in force.

        Raises:
            ConfigurationInvalid: naming the setting and what to write.
        """
        given = {"database": self.database, "namespace": self.namespace, "log_level": self.log_level, "transport": self.transport}
        return config.resolve(given)


def flags_of(context: typer.Context) -> Flags:
    """The global options of this call."""
    return context.obj if isinstance(context.obj, Flags) else Flags()


@contextlib.contextmanager
def connected(context: typer.Context, *, create: bool = False, current: bool = True) -> Iterator[Client]:
    """A client of the database in force, closed at the end.

    A SQLite file that is not there is made only with ``create``: a mistyped name must not become an empty database.
    With ``current=False`` the schema is not looked at.

    Raises:
        StorageUnavailable, StorageUnwritable: and what to do about it.
        SchemaOlder, SchemaNewer: the database needs migrating, or this program does.
    """
    quiet_drivers()
    settings = flags_of(context).settings()
    client = open_client(settings["database"].text, settings["namespace"].text, create=create, current=current)
    try:
        yield client
    finally:
        client.close()


def open_client(url: str, namespace: str, *, create: bool, current: bool = True) -> Client:
    """A connected client; see ``connected``."""
    from mainspring.client import Client
    from mainspring.store.opening import open_database
    from mainspring.system import RealSystem

    if not create:
        require_file(url)
    client = Client(url, namespace=namespace, actor=f"cli:{_user()}")
    try:
        if current:
            _ = client.database
            return client
        return Client(open_database(url, clock=RealSystem().now), namespace=namespace)
    except StorageUnavailable as error:
        raise StorageUnavailable(
            f"cannot reach {config.without_password(url)}: {error.message}; is the server running, and the address (--db) right?"
        ) from error


def require_file(url: str) -> None:
    """Refuse a SQLite file that is not there.

    Raises:
        StorageUnavailable: saying how to make it.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise StorageUnavailable(
            f"there is no database file {file}; name another with --db, or make it: mainspring db migrate (a worker does too)"
        )


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for memory and for servers."""
    scheme, separator, path = url.partition("://")
    path = path.removeprefix("/")
    return Path(path) if scheme == "sqlite" and separator and path not in {"", ":memory:"} else None


def load_app(context: typer.Context, name: str) -> App:
    """The App that ``MODULE:APP`` names; the current folder is on the import path. An App without a database gets ``--db``.

    Raises:
        ConfigurationInvalid: no such module, it cannot be imported, no such attribute, not an App; and what to write.
    """
    quiet_drivers()
    settings = flags_of(context).settings()
    if settings["database"].origin != "default":
        config.use_database(settings["database"].text)
    if settings["transport"].origin != "default":
        config.use_transport(settings["transport"].text)
    app = _app_in(name)
    namespace = flags_of(context).namespace
    if namespace is not None and namespace != app.namespace:
        raise ConfigurationInvalid(f"{name} works in namespace {app.namespace!r}; leave --namespace out, or change the App")
    if flags_of(context).database is not None and app_database(app) != settings["database"].text:
        raise ConfigurationInvalid(f"{name} names a database of its own; leave --db out, or leave database= out of the App")
    return app


def app_database(app: App) -> str:
    """The URL of an App's database."""
    return app._url or config.default_database()


def module_folder(name: str) -> tuple[Path, bool]:
    """The folder that holds the code of ``MODULE:APP``, and whether all below it belongs to it (a package)."""
    top = sys.modules[name.partition(":")[0].partition(".")[0]]
    if top.__file__ is None:  # a folder without __init__.py
        return Path(next(iter(top.__path__))), True
    file = Path(top.__file__)
    return file.parent, file.name == "__init__.py"


def log_to_stderr(context: typer.Context) -> None:
    """Log as the setting ``log_level`` says, a line an event."""
    level = flags_of(context).settings()["log_level"].text
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def quiet_drivers() -> None:
    """Connection pools log each failed try; the error at the end says it once."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


def _app_in(name: str) -> App:
    from mainspring.app import App

    module_name, separator, attribute = name.partition(":")
    if not (module_name and separator and attribute) or "/" in module_name or module_name.endswith(".py"):
        raise ConfigurationInvalid(
            f'{name!r} is not MODULE:APP; write the module and its App, such as "shop:app" for app in shop.py'
        )
    found = _import(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            apps = ", ".join(f"{module_name}:{each}" for each, value in vars(found).items() if isinstance(value, App))
            raise ConfigurationInvalid(
                f"{module_name} has no {attribute!r}; " + (f"write {apps}" if apps else "it has no App at all")
            )
        found = getattr(found, part)
    if not isinstance(found, App):
        raise ConfigurationInvalid(f"{name} is a {type(found).__name__} and not an App")
    return found


def _import(module_name: str) -> object:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigurationInvalid(
                f"there is no module {error.name!r} in {folder} or among the installed packages; is this the right folder?"
            ) from None
        raise ConfigurationInvalid(f"{module_name} cannot be imported: {_told(error)}") from None
    except StorageUnwritable:
        raise
    except _IMPORT_ERRORS as error:
        raise ConfigurationInvalid(f"{module_name} cannot be imported: {_told(error)}") from None


def _told(error: BaseException) -> str:
    """An error of somebody's module with the line of their code that raised it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    last = frames[-1]
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"
