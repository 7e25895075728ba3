"""What describes a release: card, tables, Croissant, citation, a page for browsers."""
