"""What became of every pair, in DataComp's columns."""
