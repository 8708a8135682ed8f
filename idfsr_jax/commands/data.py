"""Commands that make what training reads: `prepare` makes data sets, `convert` makes an encoder's weights."""

from idfsr_jax.commands.options import OptionalInt, OptionalPath, OptionalSeveral, Required, say
from idfsr_jax.io.arguments import folder_to_write, require_between, required
from idfsr_jax.io.errors import InputError


def prepare(
    photos: Required = None,
    out: Required = None,
    splits: OptionalPath = None,
    lists: OptionalSeveral = (),
    identities: OptionalPath = None,
    workers: OptionalInt = None,
    encoder: str = "dlib+mobilefacenet+mobilefacenet-relu6+mobileface",
    val_people: float = 0.0,
) -> int:
    """Makes a data set of a folder of identities, and reports which photographs were refused and why.

    A run that was killed goes on where it was when the same command is given again.

    Args:
      photos: Folder that holds one folder for each person (Name/*.jpg); or tfds:NAME, a data set of TensorFlow
        Datasets that is prepared on this machine (see docs/data.md).
      out: Folder to write to.
      splits: Folder of train.txt, val.txt and test.txt with identity names, one a line. Without it all are in train.
      lists: Tables of FFHQ-Ref (train_references.csv ...) that say who is on the photographs of one folder.
      identities: Text file of lines FILE PERSON (identity_CelebA.txt) that says the same.
      workers: Processes that read photographs; one for each core if not given, 0 for none but this one.
      encoder: The face recognisers whose descriptors are stored, joined by + (see docs/encoders.md). Models are
        trained with the same ones; these are the shipped model's.
      val_people: Without --splits, share of the people that make the split val, 0.1 for a tenth; who they are follows
        from the names.
    """
    photos = required(photos, "--photos", "the folder that holds one folder for each person")
    out = folder_to_write(out, "the folder to write the data set to")
    catalogued = str(photos).startswith("tfds:")
    for folder in (None if catalogued else photos, splits):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder.")
    for file in (*lists, identities):
        if file is not None and not file.is_file():
            raise InputError(f"{file}: no such list.")
    require_between(0, 1024, workers=workers)
    from idfsr_jax.data.prepare import prepare as prepare_photographs

    source = {"splits": splits, "lists": lists, "identities": identities, "val_people": val_people}
    prepare_photographs(photos, out, **source, workers=workers, encoder=encoder).print()  # type: ignore[arg-type]
    return 0


def convert(weights: Required = None, out: Required = None) -> int:
    """Makes a safetensors file of a PyTorch checkpoint of an ArcFace recogniser, which then can be an encoder.

    The checkpoint is opened by PyTorch, which must be installed, and only if it holds nothing but tensors.

    Args:
      weights: The checkpoint (.pth), with the layers' names of insightface's arcface_torch.
      out: Folder to write to.
    """
    weights = required(weights, "--weights", "a PyTorch checkpoint of an ArcFace recogniser, for example backbone.pth")
    out = folder_to_write(out, "the folder to write the safetensors file to")
    from idfsr_jax.interop.torch_weights import convert_checkpoint

    path, digest = convert_checkpoint(weights, out)
    say(f"{path}: SHA-256 {digest}; use it as --encoder arcface:{path}")
    return 0
