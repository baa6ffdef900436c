"""Runs `true` in a container by the Docker client for Python, once for each line of stdin, on one client.

usage: exec-warm-docker.py CONTAINER
Prints the seconds that each took, from the call to the exit status.
"""

import sys
import time

import docker

container = docker.from_env().containers.get(sys.argv[1])
for _ in sys.stdin:
    begun = time.perf_counter()
    code, _output = container.exec_run(["true"])
    took = time.perf_counter() - begun
    if code != 0:
        sys.exit(f"true ended with {code}")
    print(took, flush=True)
