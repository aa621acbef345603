"""Read DICOM files in a separate process and select what the schema allows."""
