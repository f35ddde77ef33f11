#!/bin/sh
# Judges every node of an allocation and puts the records together; docs/fleets.md shows how.
#SBATCH --job-name=syscall-conformance
#SBATCH --ntasks-per-node=1
#SBATCH --output=syscall-conformance-%j.log
set -eu

# On a file system that all nodes have; of each job apart, lest an old record is taken for a new one.
RECORDS="${RECORDS:-$PWD/records}/$SLURM_JOB_ID"
export RECORDS

# Whatever one node comes to, the others go on. What each came to is in its record, and of a node
# without one merge says so.
# shellcheck disable=SC2016 # the names of the nodes are known there
srun --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 sh -c '
    exec syscall-conformance "$@" --node-name="$SLURMD_NODENAME" \
        --report-dir="$RECORDS/$SLURMD_NODENAME"' sh "$@" || true

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)
exec syscall-conformance merge "$RECORDS"/*/results.json -o "$RECORDS/fleet.json" \
    --html="$RECORDS/fleet.html" --expect="$nodes"
