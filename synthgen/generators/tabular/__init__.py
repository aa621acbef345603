"""Plug-ins: generators of tables. The name of a file or folder is the generator's key in the config."""
