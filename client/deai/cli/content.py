"""`deai add` and `deai results`: what goes into the content store, and what comes out of it."""

from pathlib import Path

import click

from deai.cli import completion
from deai.cli.root import main
from deai.errors import BadField, WrongState
from deai.terminal import command, emit, open_job, say


@command(main, "add")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--image", metavar="NAME", help="The path is an image archive: remember NAME for --docker-image."
)
def add(path: Path, image: str | None, as_json: bool) -> None:
    """Put a file or folder into your content store and print its CID. The market gets it with the job that needs it."""
    from deai import unixfs
    from deai.content import open_store
    from deai.home import Home, is_image_archive
    from deai.progress import Metered, bar
    from deai.settings import HomeSettings, StoreSettings, load

    if not path.exists():
        raise BadField("path", str(path), "does not exist")
    if image is not None and not is_image_archive(path):
        raise BadField("path", str(path), "is not an image archive as `docker save` writes it")
    store = open_store(load(StoreSettings).store, "DEAI_STORE")
    with bar(f"Adding {path.name}", _size(path), hidden=as_json) as moved:
        cid = unixfs.add(path, Metered(store, moved))
    store.pin(cid)
    if image is not None:
        Home(load(HomeSettings).home).name_image(image, cid)
    emit({"cid": str(cid)}) if as_json else say(str(cid))


def _size(path: Path) -> int:
    """The bytes of the files there, about: only a bar needs it."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())


@command(main, "results")
@click.argument("job", shell_complete=completion.jobs)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that is empty or does not exist.",
)
def results(job: str, output: Path, as_json: bool) -> None:
    """Fetch a delivered result and check every block against its CID."""
    from deai.progress import bar

    submitter, found = open_job(job)
    with bar(f"Fetching {found[:12]}", None, hidden=as_json) as moved:
        try:
            result = submitter.results(found, output, moved=moved)
        except WrongState as error:
            error.add_note(f"no result was delivered; `deai status {found}` tells where the job stands")
            raise
    record = result.exit_record
    if as_json:
        emit(
            {
                "job": found,
                "result_cid": str(result.cid),
                "folder": str(output),
                "bytes": result.bytes,
                "exit": record.model_dump(mode="json") if record else None,
            }
        )
    else:
        say(f"{result.cid}  {result.files} files, {result.bytes} bytes, verified, in {output}")
        say(str(record) if record else "the result holds no readable exit record")
