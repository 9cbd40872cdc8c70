"""Physical noise models on arrays, one file per sensor principle."""
