"""What a front end keeps of the catalog, for as long as the catalog lets it."""
