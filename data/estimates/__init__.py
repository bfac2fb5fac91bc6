"""What pose estimators write, one reader for each family: the joints of people, frame by frame."""
