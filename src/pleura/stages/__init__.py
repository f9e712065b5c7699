"""The stages of a run, each one call, and whole runs that reuse what is finished."""
