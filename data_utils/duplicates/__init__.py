"""Images that show the same picture under different groups: candidates by two keys, verified by registration."""
