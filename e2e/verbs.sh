#!/usr/bin/env bash
# What people do to running containers (exec, attach, logs, wait, port-forward, edit, drain), once with the real kubectl and once with a
# link named kubectl that leads to isopod: what they print, to which stream, and how they end must be the same. The lines stand in
# verbs.txt, the objects in verbs.yaml, and parity.py compares. Run by `cargo xtask e2e verbs`; an argument is a pattern of lines.
. "${ACCEPTANCE:-$(dirname "$0")/../../shared/acceptance}/lib.sh" || exit
command -v busybox >/dev/null || { apt-get update -qq && apt-get install -y -qq busybox-static >/dev/null; }
OURS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd); ISOPOD=$(realpath "$ISOPOD")
in_own_network "$OURS/verbs.sh" "$@"
start_cluster
mkdir "$WORK/link" "$WORK/tools"; ln -s "$ISOPOD" "$WORK/link/kubectl"; cp "$(command -v busybox)" "$WORK/tools/busybox"
cat >"$WORK/tools/Dockerfile" <<'D'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
D
for v in v1 v2; do check "build tools:$v" "$ISOPOD" build --data-dir "$DATA" -t "tools:$v" "$WORK/tools"; done
for ns in par par-a par-b; do k create namespace "$ns" >/dev/null; done
for ns in par-a par-b; do sed "s/NAMESPACE/$ns/" "$OURS/verbs.yaml" | k apply -n "$ns" -f - >/dev/null; done
for ns in par-a par-b; do
  k apply -n "$ns" -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata:
  name: everywhere
  labels: {app: everywhere, drain: $ns, kind: everywhere}
  ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: everywhere, controller: true, uid: $(k get -n "$ns" ds everywhere -o 'jsonpath={.metadata.uid}')}]
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "tools:v1", command: [sleep, "100000"]}]}
Y
done
up() { k wait pod -n "$1" --for=condition=Ready --timeout=60s main echo shell once talker bare everywhere && k rollout -n "$1" status deployment/twins --timeout=60s &&
  k rollout -n "$1" status deployment/guarded --timeout=60s &&
  k wait pod -n "$1" --timeout=60s ended --for=jsonpath='{.status.phase}'=Succeeded && k logs -n "$1" again | grep 'second run'; }
for ns in par-a par-b; do eventually 90 "everything runs in $ns" up "$ns"; done
k cordon "$(k get nodes -o name)" >/dev/null; export NODE; NODE=$(k get nodes -o 'jsonpath={.items[0].metadata.name}')
say "the same command lines with both"
cd "$OURS" && BASH_ENV=$OURS/verbs.env python3 parity.py "$KUBECTL" "$WORK/link/kubectl" verbs.txt "$@"
