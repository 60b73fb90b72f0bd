"""Commands for what some datasets need before a run: unpack, stack."""

from pathlib import Path
from typing import Annotated

import typer

from captioner.cli.console import count, err, out, stoppable
from captioner.errors import UsageError

app = typer.Typer()


@app.command()
def unpack(
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="An .npz archive with train_images, train_labels and so on.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="A new folder for the images and labels.csv.")],
) -> None:
    """Write the images of a dataset that comes as arrays (MedMNIST) as PNG files, with a label table beside them.

    Example: captioner unpack pathmnist_224.npz --out data/medmnist_pathmnist
    """
    from captioner.arrays import unpack as unpacking

    done = unpacking(archive, out_dir)
    counts = ", ".join(f"{split} {count:,}" for split, count in done.images.items())
    out.print(f"{done.table}: {sum(done.images.values()):,} images ({counts})")


@app.command()
def stack(
    data: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder with folders of slices, or with NIfTI files.")
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", help="The folder for the volumes; one begun before is gone on with.")
    ],
    window: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Values that become black and white of 8 bits.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="D,H,W", help="Scale to this depth, height and width, as float32 from 0 to 1.")
    ] = None,
) -> None:
    """Write each folder of slices, and each NIfTI file, as one volume (.npy).

    Example: captioner stack M3D_Cap --out M3D_Cap_volumes --size 32,256,256
    """
    from captioner.volumes import stack as stacking

    low_high = numbers(window, 2, "--window") if window else None
    shape = numbers(size, 3, "--size") if size else None
    if low_high and low_high[0] >= low_high[1]:
        raise UsageError(f"--window {window}: goes from a smaller to a larger value")
    if shape and not all(side >= 1 and side.is_integer() for side in shape):
        raise UsageError(f"--size {size}: three whole numbers, each at least 1")
    with stoppable():
        done = stacking(
            data,
            out_dir,
            window=(low_high[0], low_high[1]) if low_high else None,
            size=(int(shape[0]), int(shape[1]), int(shape[2])) if shape else None,
        )
    for name, problem in done.problems.items():
        err.print(f"{name}: {problem.code}: {problem.reason}", markup=False)
    out.print(f"{out_dir}: {count(done.volumes, 'volume')} ({done.written:,} written now)", markup=False)
    if done.problems:
        out.print(f"no volume of {len(done.problems):,} series")
        raise typer.Exit(1)


def numbers(text: str, how_many: int, option: str) -> list[float]:
    """Return the numbers of an option such as ``32,256,256``."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != how_many:
        raise UsageError(f"{option} {text}: write {how_many} numbers with commas between them")
    return found
