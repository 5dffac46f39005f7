"""One file per dataset: the listing is the list of what is supported. A leading underscore marks shared parts."""
