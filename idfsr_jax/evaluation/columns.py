"""The columns of a report: which number, judged by what, in which unit, which way is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
      key: name of the number in `results.json`.
      name: what it measures.
      network: that judges; empty where none does.
      unit: empty where there is none.
      direction: which way is better.
      digits: after the point.
      short: heading where room is scarce.
    """

    key: str
    name: str
    network: str
    unit: str
    direction: Literal["higher", "lower"]
    digits: int
    short: str

    @property
    def title(self) -> str:
        """Name, network, unit and direction."""
        details = [part for part in (self.network, self.unit, self.direction) if part]
        return f"{self.name} ({', '.join(details)} is better)"


_EYES = "inter-ocular distances"
_PICTURES = (
    Column("psnr", "PSNR", "", "dB", "higher", 2, "PSNR"),
    Column("psnr_face", "PSNR, face", "", "dB", "higher", 2, "PSNR face"),
    Column("ssim", "SSIM", "", "", "higher", 3, "SSIM"),
    Column("ssim_face", "SSIM, face", "", "", "higher", 3, "SSIM face"),
    Column("lpips_alex", "LPIPS", "AlexNet", "", "lower", 3, "LPIPS Alex"),
    Column("lpips_vgg", "LPIPS", "VGG16", "", "lower", 3, "LPIPS VGG"),
    Column("lpips_alex_face", "LPIPS, face", "AlexNet", "", "lower", 3, "LPIPS Alex face"),
    Column("lpips_vgg_face", "LPIPS, face", "VGG16", "", "lower", 3, "LPIPS VGG face"),
    Column("lr_psnr", "LR consistency", "", "dB", "higher", 1, "LR PSNR"),
    Column("landmark_error", "landmark distance (LMD) of the result", "dlib", _EYES, "lower", 3, "landmarks"),
    Column("expression_error", "error of the mouth on aligned faces", "dlib", _EYES, "lower", 3, "expression"),
    Column("expression_kept", "expression of the truth rather than of the reference", "dlib", "share", "higher", 2,
           "expression kept"),
)  # fmt: skip


def columns_of(judges: Sequence[tuple[str, str]], real_pairs: Mapping[str, Any]) -> list[Column]:
    """All columns of a report, identity first.

    Args:
      judges: (name, title) of each.
      real_pairs: by judge, which say at what false acceptance rates there is a threshold.
    """
    columns = []
    for judge, title in judges:
        # Where several judge, every heading says who.
        by = f", {judge}" if len(judges) > 1 else ""
        to_album = "mean identity cosine to the photographs that were given"
        copied = "1: a photograph over again, -1: the truth"
        columns.append(Column(f"identity/{judge}", "identity cosine", title, "", "higher", 3, f"cosine{by}"))
        for far in real_pairs[judge]["acceptance"]:
            accepted, short = f"accepted at FAR {far}", f"FAR {far}{by}"
            columns.append(Column(f"accepted/{judge}/{far}", accepted, title, "share", "higher", 2, short))
        columns += [
            Column(f"identity_album/{judge}", to_album, title, "", "higher", 3, f"cosine to photos{by}"),
            Column(f"copy_paste/{judge}", "copy-paste", title, copied, "lower", 3, f"copy-paste{by}"),
            Column(f"identity_other/{judge}", "identity cosine to another person", title, "", "lower", 3,
                   f"cosine to another{by}"),
        ]  # fmt: skip
    return [*columns, *_PICTURES]
