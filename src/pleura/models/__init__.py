"""Networks, and the file that carries a trained one."""
