"""Reports: the results of a run or of a comparison on one page."""
