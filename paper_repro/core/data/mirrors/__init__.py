"""Package mirrors of the data sets, for machines that reach no hub."""
