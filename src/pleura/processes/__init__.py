"""Work over processes, and processes that may be killed."""
