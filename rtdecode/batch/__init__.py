"""Many recordings, or one very large one, fitted in blocks of frames by many processes; on Dask."""
