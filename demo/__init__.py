"""A made-up dance data set in the lab's layout, for machines without the lab's own data."""
