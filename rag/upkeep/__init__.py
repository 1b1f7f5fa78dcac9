"""What keeps an index well: looking for damage and mending it, copies, carrying it elsewhere."""

from rag.upkeep.backup import back_up
from rag.upkeep.doctor import examine, repair
from rag.upkeep.transfer import export_index, import_index

__all__ = ["back_up", "examine", "export_index", "import_index", "repair"]
