"""The report: from the folder of a run or of a comparison to one page."""
