"""What keeps an index well: looking for damage and mending it, copies, carrying it elsewhere."""

from rag.index.upkeep.backup import back_up
from rag.index.upkeep.doctor import examine, repair
from rag.index.upkeep.transfer import export_index, import_index

__all__ = ["back_up", "examine", "export_index", "import_index", "repair"]
