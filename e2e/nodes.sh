#!/usr/bin/env bash
# Three machines: three network namespaces joined by a switch. The first runs the cluster and is a node, two more join it with
# `isopod node`. Pods reach each other and every Service across nodes, kubectl logs and exec work everywhere, an update loses nothing,
# and a drain waits for the proxies of all nodes, bounded when one of them has stopped.
# Run by `cargo xtask e2e nodes`; the helpers are those of the acceptance scripts.
. "${ACCEPTANCE:-$(dirname "$0")/../../shared/acceptance}/lib.sh" || exit
[ -x /bin/busybox ] || [ -x /usr/bin/busybox ] || { apt-get update -qq && apt-get install -y -qq busybox-static >/dev/null; }
in_own_network "$0" "$@"
declare -A NET AGENT
NET[b]=$ISOPOD_NETNS-b NET[c]=$ISOPOD_NETNS-c
on() { local node=$1; shift; if [ "$node" = a ]; then "$@"; else nsenter --net="/run/netns/${NET[$node]}" "$@"; fi; }
ip link add lan type bridge; ip addr add 192.0.2.1/24 dev lan; ip link set lan up
for n in b c; do
  ip netns add "${NET[$n]}"; ip -n "${NET[$n]}" link set lo up
  ip link add "lan-$n" type veth peer name eth0 netns "${NET[$n]}"; ip link set "lan-$n" master lan up
done
ip -n "${NET[b]}" addr add 192.0.2.2/24 dev eth0; ip -n "${NET[b]}" link set eth0 up
ip -n "${NET[c]}" addr add 192.0.2.3/24 dev eth0; ip -n "${NET[c]}" link set eth0 up
start_cluster --advertise-address 192.0.2.1
clean() {
  local n
  for n in b c; do
    kill -CONT "$(pid "$n")" 2>/dev/null || true
    on "$n" "$ISOPOD" delete --data-dir "$WORK/$n" >/dev/null 2>&1 || true
    ip netns del "${NET[$n]}" || true
  done
  "$ISOPOD" delete --data-dir "$DATA" >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap clean EXIT

say "two machines join"
join() { local n=$1; shift; on "$n" "$ISOPOD" node run --data-dir "$WORK/$n" "$@" >>"$WORK/$n.log" 2>&1 & AGENT[$n]=$!; }
pid() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["pid"])' "$WORK/$1/run/server.json"; }
check "credentials for b" "$ISOPOD" node add b --address 192.0.2.2 --data-dir "$DATA" --output "$WORK/b.json"
check "credentials for c" "$ISOPOD" node add c --address 192.0.2.3 --data-dir "$DATA" --output "$WORK/c.json"
is "they are secret" 600 "$(stat -c %a "$WORK/b.json")"
join b --credentials "$WORK/b.json"; join c --credentials "$WORK/c.json"
ready() { [ "$(k get nodes --no-headers | awk '$2 == "Ready"' | wc -l)" = "$1" ]; }
eventually 60 "three nodes are ready" ready 3
check_err "a data directory is one node's" 'runs already' "$ISOPOD" node run --data-dir "$WORK/b"
A=$(k get nodes -o name | grep -v -e '/b$' -e '/c$'); A=${A#node/}

say "an image, on each of them"
mkdir -p "$WORK/web"; cp "$(command -v busybox)" "$WORK/web/busybox"
cat >"$WORK/web/Dockerfile" <<'D'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh", "-c", "mkdir -p /www; hostname >/www/index.html; echo serving; trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait"]
D
for d in "$DATA" "$WORK/b" "$WORK/c"; do check "build" "$ISOPOD" build --data-dir "$d" -t web:v1 "$WORK/web"; done

say "a pod on each, one Service"
for n in a b c; do
  cat <<Y
apiVersion: v1
kind: Pod
metadata: {name: on-$n, labels: {app: fixed}}
spec:
  nodeName: $([ $n = a ] && echo "$A" || echo $n)
  containers: [{name: web, image: web:v1, readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}]
---
Y
done >"$WORK/pods.yaml"
cat >>"$WORK/pods.yaml" <<'Y'
apiVersion: v1
kind: Service
metadata: {name: fixed}
spec: {type: NodePort, selector: {app: fixed}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: spread}
spec: {type: NodePort, selector: {app: spread}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: spread}
spec:
  replicas: 6
  selector: {matchLabels: {app: spread}}
  template:
    metadata: {labels: {app: spread}}
    spec:
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: spread}}}]
      containers: [{name: web, image: web:v1, readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}]
Y
check "apply" k apply -f "$WORK/pods.yaml"
check "the pods are ready" k wait pod -l app=fixed --for=condition=Ready --timeout=60s
check_out "the Deployment is rolled out" 'successfully rolled out' k rollout status deployment/spread --timeout=90s
is "on all three nodes" 3 "$(k get pods -l app=spread -o 'jsonpath={.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l)"
# Debian's static busybox has a wget that crashes without a C library beside it.
fetch='fetch() { printf "GET / HTTP/1.0\r\n\r\n" | nc -w 5 $1 $2 | tail -1; };'
ip_of() { k get pod "$1" -o 'jsonpath={.status.podIP}'; }
VIP=$(k get svc fixed -o 'jsonpath={.spec.clusterIP}'); PORT=$(k get svc fixed -o 'jsonpath={.spec.ports[0].nodePort}')
for n in a b c; do
  check_out "logs on $n" '^serving$' k logs "on-$n"
  check_out "exec on $n" "^on-$n\$" k exec "on-$n" -- hostname
  for m in a b c; do
    check_out "pod on $n → pod on $m" "^on-$m\$" k exec "on-$n" -- sh -c "$fetch fetch $(ip_of on-$m) 8080"
  done
  for where in pod machine; do
    get() { if [ $where = pod ]; then k exec "on-$n" -- sh -c "$fetch for i in \$(seq 40); do fetch $1 $2; done"; else on $n bash -c "for i in \$(seq 40); do curl -sf --max-time 5 http://$1:$2/; done"; fi | sort -u | tr '\n' ' '; }
    is "$where $n → cluster IP, all three answer" "on-a on-b on-c " "$(get "$VIP" 80)"
  done
  is "machine $n → its node port on loopback" "on-a on-b on-c " "$(get 127.0.0.1 "$PORT")"
  check_out "DNS on $n" "$VIP" k exec "on-$n" -- nslookup fixed.default.svc.cluster.local
  check "the API from a pod on $n" k exec "on-$n" -- sh -c "nc -w 5 kubernetes.default.svc.cluster.local 443 </dev/null"
done
for n in 2 3; do check_out "node port of 192.0.2.$n from another machine" 'on-[abc]' curl -sf --max-time 5 "http://192.0.2.$n:$PORT/"; done

say "an update under load from every machine"
STOP="$WORK/stop"; S=$(k get svc spread -o 'jsonpath={.spec.clusterIP}')
for n in a b c; do on $n python3 "$HERE/load.py" "http://$S/" --clients 2 --expect '^spread-' --slowest 5 --stop "$STOP" >"$WORK/load.$n" 2>"$WORK/load.$n.err" & done
for round in 1 2; do
  check "restart ($round)" k rollout restart deployment/spread
  check_out "…rolled out" 'successfully rolled out' k rollout status deployment/spread --timeout=120s
done
sleep 1; touch "$STOP"; wait $(jobs -p | grep -vx -e "${AGENT[b]}" -e "${AGENT[c]}") || true
for n in a b c; do say "from $n: $(cat "$WORK/load.$n")"; is "from $n: no request failed" 0 "$(loaded $n failed)"; done

say "node c stops: drains wait for it, within their bound"
kill -STOP "$(pid c)"
began=$(date +%s%N)
check "a pod on b is deleted" k delete pod on-b
took=$((($(date +%s%N) - began) / 1000000)); say "took $took ms"
holds "c was waited for" "$took" -ge 5000
holds "not longer than a quarter of the grace period" "$took" -le 12000
check_out "people are told" 'waiting for the proxy of c' k get events --field-selector involvedObject.name=on-b
is "a sends nothing to it" "on-a on-c " "$(for i in $(seq 40); do curl -sf --max-time 5 "http://$VIP/"; done | sort -u | tr '\n' ' ')"
kill -CONT "$(pid c)"
caught_up() { [ "$(for i in $(seq 30); do on c curl -sf --max-time 5 "http://$VIP/" || echo failed; done | sort -u | tr '\n' ' ')" = "on-a on-c " ]; }
eventually 20 "c catches up" caught_up

say "node c dies: nobody waits for it once it is known; its pods go on, and it comes back"
kill -9 "$(pid c)"; wait "${AGENT[c]}" 2>/dev/null || true
eventually 90 "c is not ready" ready 2
began=$(date +%s%N)
check "a pod on b is deleted" k delete "$(k get pods -l app=spread --field-selector spec.nodeName=b -o name | head -1)"
took=$((($(date +%s%N) - began) / 1000000)); say "took $took ms"
holds "c was not waited for" "$took" -le 4000
check_out "its pod answers all the while" '^on-c$' curl -sf --max-time 5 "http://$(ip_of on-c):8080/"
join c
eventually 60 "c is ready again" ready 3
check_out "exec on c" "^on-c\$" k exec on-c -- hostname
is "the same container" 0 "$(k get pod on-c -o 'jsonpath={.status.containerStatuses[0].restartCount}')"
eventually 20 "c sends to the pods there are" caught_up
done_all
