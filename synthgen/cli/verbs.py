"""How verbs are declared: every one takes ``--json``, ``--quiet`` and ``--verbose``."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import typer

Verb = TypeVar("Verb", bound=Callable[..., Any])
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the result's first lines only.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print every step, and all of the result.")]


@dataclass
class Talk:
    """How much a verb says to a person; ``--json`` is the same whatever it is.

    Attributes:
        quiet: errors, and the result's first lines.
        verbose: every step with its time, and all of the result.
        verb: name of the verb's function.
        report: where a report went that the outcome does not name.
        given: the verb's arguments as a person types them, by name.
    """

    quiet: bool = False
    verbose: bool = False
    verb: str = ""
    report: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


talk = Talk()
"""What the running verb was asked for."""


class Verbs(typer.Typer):
    """A group of verbs that all take the options of `Talk`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(no_args_is_help=True, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Verb], Verb]:
        """Declare a verb, as `typer.Typer.command` does."""
        declare = super().command(name, **options)

        def declared(verb: Verb) -> Verb:
            declare(talking(verb))
            return verb

        return declared


def talking(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Return a verb that takes ``--quiet`` and ``--verbose`` too, and heeds them."""
    signature = inspect.signature(verb, eval_str=True)
    shared = {"json_": Json, "quiet": Quiet, "verbose": Verbose}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in shared.items()
        if name not in signature.parameters
    ]

    @functools.wraps(verb)
    def spoken(*arguments: Any, **options: Any) -> Any:
        given = {one.name: options.pop(one.name, False) for one in added}
        if given["quiet"] and given["verbose"]:
            raise typer.BadParameter("Expected --quiet or --verbose, got both.")
        talk.quiet, talk.verbose, talk.verb = given["quiet"], given["verbose"], verb.__name__
        talk.given = {name: _typed(value) for name, value in options.items() if value}
        return verb(*arguments, **options)

    whole = [*signature.parameters.values(), *added]
    spoken.__signature__ = signature.replace(parameters=whole)  # type: ignore[attr-defined]
    spoken.__annotations__ = {one.name: one.annotation for one in whole}
    del spoken.__wrapped__  # its signature would hide this one
    return spoken


def _typed(value: Any) -> str:
    """Return an argument as a person types it; the settings of ``--set`` with their option."""
    if isinstance(value, list):
        return " ".join(f"--set {shlex.quote(str(one))}" for one in value)
    return shlex.quote(str(value))
