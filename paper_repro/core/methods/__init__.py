"""The methods that distil a data set, one file or folder each."""
