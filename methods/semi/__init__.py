"""Semi-supervised methods: a few dense labels and many unlabelled images. One file each; file name = name."""
