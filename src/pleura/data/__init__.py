"""From a folder of radiographs to arrays that a network can read."""
