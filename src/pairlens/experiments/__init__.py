"""Layer 3: experiments, the settings of the papers, and the folder of a run."""
