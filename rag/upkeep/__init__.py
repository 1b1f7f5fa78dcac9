"""What keeps an index well: looking for damage and mending it, copies, carrying it elsewhere."""
