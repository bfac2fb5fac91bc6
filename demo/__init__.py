"""Synthetic data in the labs' layouts, for machines without the labs' own, and films."""
