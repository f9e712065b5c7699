"""Files that lie at an address: in an object store, on a web server, in an archive there."""
