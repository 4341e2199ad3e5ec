"""Documents -> a token dataset folder: what is held out, how documents become shards, and the file that seals them."""
