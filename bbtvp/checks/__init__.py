"""Floor 7: checks of a proven prompt beyond the proof: robustness, side effects, saliency."""
