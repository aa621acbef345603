"""The folder that leaves the building, and its verification on another machine."""
