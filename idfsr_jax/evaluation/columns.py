"""The columns of a report: which number, judged by what, in which unit, which way is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idfsr_jax.evaluation import metrics
from idfsr_jax.evaluation.metrics import Metric, acceptance_metric, identity_metric


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
      key: name of the number in `results.json`.
      metric: what it means.
      digits: after the point.
      short: heading where room is scarce.
    """

    key: str
    metric: Metric
    digits: int
    short: str

    @property
    def title(self) -> str:
        """Name, network, unit and direction."""
        details = [part for part in (self.metric.network, self.metric.unit, self.metric.direction) if part]
        return f"{self.metric.name} ({', '.join(details)} is better)"


IDENTITY = "identity"


def columns_of(judges: Sequence[tuple[str, str]], real_pairs: Mapping[str, Any]) -> list[Column]:
    """All columns of a report, identity first.

    Args:
      judges: (name, title) of each.
      real_pairs: by judge, which say at what false acceptance rates there is a threshold.
    """
    columns = []
    for name, title in judges:
        # Where several judge, every heading says who.
        by = f", {name}" if len(judges) > 1 else ""
        columns.append(Column(f"identity/{name}", identity_metric(title), 3, f"cosine{by}"))
        for far in real_pairs[name]["acceptance"]:
            metric = acceptance_metric(title, float(far))
            columns.append(Column(f"accepted/{name}/{far}", metric, 2, f"FAR {far}{by}"))
        to_album = Metric("mean identity cosine to the photographs that were given", title, "", "higher")
        columns.append(Column(f"identity_album/{name}", to_album, 3, f"cosine to photos{by}"))
        copied = Metric("copy-paste", title, "1: a photograph over again, -1: the truth", "lower")
        columns.append(Column(f"copy_paste/{name}", copied, 3, f"copy-paste{by}"))
        to_other = Metric("identity cosine to another person", title, "", "lower")
        columns.append(Column(f"identity_other/{name}", to_other, 3, f"cosine to another{by}"))
    found = Metric("landmark distance (LMD) of the result", "dlib", "inter-ocular distances", "lower")
    moved = Metric("error of the mouth on aligned faces", "dlib", "inter-ocular distances", "lower")
    kept = Metric("expression of the truth rather than of the reference", "dlib", "share", "higher")
    return [
        *columns,
        Column("psnr", metrics.PSNR, 2, "PSNR"),
        Column("psnr_face", metrics.PSNR_FACE, 2, "PSNR face"),
        Column("ssim", metrics.SSIM, 3, "SSIM"),
        Column("ssim_face", metrics.SSIM_FACE, 3, "SSIM face"),
        Column("lpips_alex", metrics.LPIPS_ALEX, 3, "LPIPS Alex"),
        Column("lpips_vgg", metrics.LPIPS_VGG, 3, "LPIPS VGG"),
        Column("lpips_alex_face", Metric("LPIPS, face", "AlexNet", "", "lower"), 3, "LPIPS Alex face"),
        Column("lpips_vgg_face", Metric("LPIPS, face", "VGG16", "", "lower"), 3, "LPIPS VGG face"),
        Column("lr_psnr", metrics.LR_PSNR, 1, "LR PSNR"),
        Column("landmark_error", found, 3, "landmarks"),
        Column("expression_error", moved, 3, "expression"),
        Column("expression_kept", kept, 2, "expression kept"),
    ]
