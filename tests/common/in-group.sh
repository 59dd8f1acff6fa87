#!/bin/sh
# Starts the program TEST_BINARY with its process in the group whose folder TEST_GROUP is: what it ever uses is counted there.
echo $$ >"$TEST_GROUP/cgroup.procs" && exec "$TEST_BINARY" "$@"
