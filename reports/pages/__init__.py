"""The pages of commands: filters, comparisons and observations, in the look of compliance.html."""
