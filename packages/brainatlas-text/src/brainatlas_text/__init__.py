"""Brain scans of healthy people, turned into image/label/text samples."""
