"""Pods by the container runtime interface (CRI) of Kubernetes: started here, or found running."""
