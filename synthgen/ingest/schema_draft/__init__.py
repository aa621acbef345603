"""Draft a schema from a table, a folder of images or a REDCap dictionary; nothing is confirmed."""
