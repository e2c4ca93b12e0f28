"""Training cells of an error matrix: a plan, processes that train, a journal that keeps."""
