"""Deploying a store on its hosts over ssh. `onhost` is what runs there; the rest runs here."""
