"""What runs a trial on Ray: a slot, the Ray Train run that it keeps, the mailbox between them."""
