"""How the kernel is asked: architectures, filters, probes, evidence and the judge."""
