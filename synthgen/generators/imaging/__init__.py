"""Plug-ins: generators of images. The name of a file or folder is the generator's key in the config."""
