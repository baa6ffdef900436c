"""Runs `true` in a pod by the Kubernetes client for Python, once for each line of stdin, on one client.

usage: exec-warm-k8s.py NAMESPACE POD
Prints the seconds that each took, from the call to the exit status.
"""

import sys
import time

from kubernetes import client, config
from kubernetes.stream import stream

namespace, pod = sys.argv[1:]
config.load_kube_config()
pods = client.CoreV1Api()
for _ in sys.stdin:
    begun = time.perf_counter()
    ran = stream(
        pods.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=["true"],
        stdin=False,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    ran.run_forever()
    code = ran.returncode
    took = time.perf_counter() - begun
    if code != 0:
        sys.exit(f"true ended with {code}")
    print(took, flush=True)
