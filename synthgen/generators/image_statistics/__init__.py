"""DP statistics of images: cosine moments, histograms, spectra, nearest-neighbour votes."""
