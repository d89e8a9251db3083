"""Random valid graphs, the property that slimming must keep on each, and what makes a counterexample small."""
