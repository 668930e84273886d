"""The group that all commands belong to."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from deai.terminal import emit


class Root(click.Group):
    """With `--json`, a mistyped command line is an object too."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        if not standalone_mode or "--json" not in words:
            return super().main(words, prog_name, complete_var, standalone_mode, **extra)
        try:
            code = super().main(words, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            emit({"error": type(error).__name__, "detail": error.format_message(), "notes": []})
            error.show()
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="deai")
def main() -> None:
    """An open market for compute. Settings come from the environment: DEAI_RPC, DEAI_DEPLOYMENT, DEAI_MARKET, DEAI_STORE,
    DEAI_HOME, DEAI_KEY, DEAI_PASSWORD_FILE."""
