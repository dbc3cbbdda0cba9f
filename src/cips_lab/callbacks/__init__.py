"""Lightning callbacks: what watches a run and writes its folder."""
