"""Programs for whoever builds and checks monGARS."""
