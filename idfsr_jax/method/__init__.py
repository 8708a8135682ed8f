"""The method: what training, restoring and evaluation do alike, from degradation to sampling."""
