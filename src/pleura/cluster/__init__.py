"""Work over many machines, by Ray; what the work is, its callers say."""
