#!/usr/bin/env bash
# The same command lines, once with the real kubectl and once with a link named kubectl that leads to isopod: what they print, to which
# stream, and how they end must be the same. The lines stand in parity.txt, the objects in parity.yaml.
. "${ACCEPTANCE:?where the acceptance scripts are}/lib.sh" || exit
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ISOPOD=$(realpath "$ISOPOD")
start_cluster --hollow-nodes 3
mkdir "$WORK/link"; ln -s "$ISOPOD" "$WORK/link/kubectl"
for ns in par par-a par-b; do k create namespace "$ns" >/dev/null; done
say "objects"
k apply -n par -f "$HERE/parity.yaml" >/dev/null
k -n par rollout status deployment/web --timeout=60s >/dev/null
k -n par set image deployment/web web=web:2 >/dev/null
k -n par rollout status deployment/web --timeout=60s >/dev/null
eventually 30 "the pod runs" sh -c '[ "$("$KUBECTL" -n par get pod full -o "jsonpath={.status.phase}")" = Running ]'
eventually 30 "the old pods are gone" sh -c '[ "$("$KUBECTL" -n par get pods -l app=web --no-headers | wc -l)" = 2 ]'
say "the same command lines with both"
cd "$HERE" && python3 parity.py "$KUBECTL" "$WORK/link/kubectl" parity.txt "$@"
