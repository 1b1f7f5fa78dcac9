"""Show a place of a document where it stands: find it by what a citation prints, and mark it."""
