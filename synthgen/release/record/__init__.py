"""The privacy record of a release, and how its statements are worded."""
