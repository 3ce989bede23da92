"""One part of each kind that bbtvp takes from outside, one file each."""
