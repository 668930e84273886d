"""`deai add` and `deai results`: what goes into the content store, and what comes out of it."""

from pathlib import Path

import click

from deai.cli.root import main
from deai.errors import BadField
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
    from deai.settings import HomeSettings, StoreSettings, load

    if not path.exists():
        raise BadField("path", str(path), "does not exist")
    if image is not None and not is_image_archive(path):
        raise BadField("path", str(path), "is not an image archive as `docker save` writes it")
    store = open_store(load(StoreSettings).store, "DEAI_STORE")
    cid = unixfs.add(path, store)
    store.pin(cid)
    if image is not None:
        Home(load(HomeSettings).home).name_image(image, cid)
    emit({"cid": str(cid)}) if as_json else say(str(cid))


@command(main, "results")
@click.argument("job")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that is empty or does not exist.",
)
def results(job: str, output: Path, as_json: bool) -> None:
    """Fetch a delivered result and check every block against its CID."""
    submitter, found = open_job(job)
    result = submitter.results(found, output)
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
