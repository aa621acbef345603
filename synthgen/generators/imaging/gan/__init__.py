"""The generator `gan` of images: a DP base model refined against a private critic."""
