"""Keep an index well: examine and repair it, back it up, export and import it."""

from rag.index.upkeep.backup import back_up
from rag.index.upkeep.doctor import examine, repair
from rag.index.upkeep.transfer import export_index, import_index

__all__ = ["back_up", "examine", "export_index", "import_index", "repair"]
