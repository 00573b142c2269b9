"""What finds copies, tried from outside: near-duplicates among photographs, and copiers among generators."""
