"""The paper's figures, and the questions its readers were left with: `python -m cips_lab.analyze`."""
