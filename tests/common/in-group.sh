#!/bin/sh
# Starts the program TEST_BINARY in the cgroup of the folder TEST_GROUP, which counts everything that the process uses.
echo $$ >"$TEST_GROUP/cgroup.procs" && exec "$TEST_BINARY" "$@"
