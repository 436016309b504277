"""DataComp's metadata of the pool, and subsets of it as files of uids."""
