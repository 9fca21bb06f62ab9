"""[pair] of a topology: the two models, and the tables that their rows are spelt with."""

from dataclasses import dataclass, field
from typing import Final

from draftwire.codecs.limits import MAX_TABLE_SETS
from draftwire.runtime.errors import nearest
from draftwire.runtime.settings_checks import need

DTYPES: Final = ("auto", "float32", "float16", "bfloat16")
DEFAULT_MODEL: Final = "smollm2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One end of the pair; written in [pair] with `draft_` or `target_` before the key, or plain for both."""

    model: str = DEFAULT_MODEL
    "`smollm2`, a local folder, a hub id, or a .gguf file"
    dtype: str | None = None
    "of the weights, one of DTYPES; None: as the model's loader judges"
    device: str | None = None
    "as torch names it: cpu, cuda, cuda:1, mps; None: as the loader judges"
    device_map: str | None = None
    "as transformers names it, for a model over several devices; excludes `device`"
    revision: str | None = None
    "of a hub model: branch, tag or commit"

    def __post_init__(self) -> None:
        need(bool(self.model), "model", self.model, "write smollm2, a folder, a hub id or a .gguf file")
        if self.dtype is not None:
            need(self.dtype in DTYPES, "dtype", self.dtype, nearest(self.dtype, DTYPES))
        for key in ("device", "device_map", "revision"):
            need(getattr(self, key) != "", key, "", "leave it out for the default")
        both = self.device is not None and self.device_map is not None
        need(not both, "device_map", self.device_map, "give either device or device_map")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """[pair]: the two models; they must share a vocabulary."""

    draft: ModelSettings = field(default_factory=ModelSettings)
    target: ModelSettings = field(default_factory=ModelSettings)
    tables: tuple[str, ...] | None = None
    "files of sets of tables for rows, the best first; none: rows are plain; None: those that are found"

    def __post_init__(self) -> None:
        for name in self.tables or ():
            need(name != "" and "\0" not in name, "tables", name, "name a file, or write [] for plain rows")
        count = len(self.tables or ())
        need(count <= MAX_TABLE_SETS, "tables", count, f"name {MAX_TABLE_SETS} files at most, the best first")


__all__ = ["DEFAULT_MODEL", "DTYPES", "ModelSettings", "PairSettings"]
