"""Read folders of images and array files."""
