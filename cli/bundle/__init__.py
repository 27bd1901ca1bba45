"""``mongars support-bundle``: what a helper needs to see, without what people said or who they are."""
