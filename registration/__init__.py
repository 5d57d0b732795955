"""From images and tracked markers to a transform with a covariance."""
