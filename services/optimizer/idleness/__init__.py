"""Whether nobody needs the installation now, for how long that will last, and why not. Pure."""
