"""The group that all commands belong to."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="deai")
def main() -> None:
    """An open market for compute. Settings come from the environment: DEAI_RPC, DEAI_DEPLOYMENT, DEAI_MARKET, DEAI_STORE,
    DEAI_HOME, DEAI_KEY, DEAI_PASSWORD_FILE."""
