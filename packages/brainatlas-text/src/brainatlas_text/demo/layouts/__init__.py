"""How each source lays out its scans and spreadsheets on disk, one module a source."""
