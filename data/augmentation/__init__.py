"""Training windows that were never filmed: people moved, scaled, turned; poses without limbs."""
